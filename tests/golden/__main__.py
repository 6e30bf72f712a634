"""Write the golden files anew: `python -m tests.golden`, and read the difference before it is committed."""

from tests.golden import PICTURES, path
from tests.golden.comparisons import COMPARISONS

for name, picture in {**PICTURES, **COMPARISONS}.items():
    before = path(name).read_bytes() if path(name).exists() else b""
    after = picture().dot.encode()
    path(name).write_bytes(after)
    print(f"{path(name).name}: {'the same' if before == after else 'changed'}")
