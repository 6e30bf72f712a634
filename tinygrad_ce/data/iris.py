"""Fisher's irises, which ship with the package."""

from importlib.resources import as_file, files

from tinygrad_ce.data.dataset import ArrayDataset
from tinygrad_ce.data.split import every_fifth
from tinygrad_ce.data.tables import read_csv


def iris() -> tuple[ArrayDataset, ArrayDataset]:
    """Fisher's irises as `(train, test)`: 120 and 30 flowers of three species, by four lengths.

    `inputs` is float32 of shape (N, 4): length and width of a sepal, length and width of a petal, in cm, as `features`
    names them; for training, bring them to one scale with `standardize`. `targets` is int64 of shape (N,), and
    `classes` is ("setosa", "versicolor", "virginica").

    The split is fixed and stratified: every fifth flower of a species, from the first on, is for testing. Both keep
    the order of the source. The arrays are new at each call.

    Source: R. A. Fisher, The Use of Multiple Measurements in Taxonomic Problems, 1936; Iris, UCI Machine Learning
    Repository, 1988, https://doi.org/10.24432/C56C76, licence CC BY 4.0, as scikit-learn ships it in `load_iris`: two
    flowers have Fisher's numbers, where UCI's file has known errors (number 35, petal width 0.2, and number 38, sepal
    width 3.6 and petal length 1.4).

    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.iris()
    >>> train
    ArrayDataset(120 rows: inputs float32 (120, 4), targets int64 (120,), 3 classes)
    >>> dict(zip(test.features, test.inputs[0].tolist()))  # doctest: +NORMALIZE_WHITESPACE
    {'sepal length (cm)': 5.099999904632568, 'sepal width (cm)': 3.5,
     'petal length (cm)': 1.399999976158142, 'petal width (cm)': 0.20000000298023224}
    """
    with as_file(files(__package__).joinpath("iris.csv")) as path:
        return every_fifth(read_csv(path))
