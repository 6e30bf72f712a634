"""CSV files: whatever spreadsheets and programs write is read, and what is wrong is named by its line."""

import csv
import io
import re
from importlib.resources import as_file, files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_ce.data import iris, read_csv, read_inputs

PETS = "weight,height,species\n4.5,25,cat\n30,60,dog\n5,24,cat\n"


@pytest.fixture
def file(tmp_path):
    """Write a CSV file and return its path."""

    def write(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def is_pets(found):
    assert found.features == ("weight", "height")
    assert found.classes == ("cat", "dog")
    assert found.inputs.dtype == np.float32
    assert found.inputs.tolist() == [[4.5, 25], [30, 60], [5, 24]]
    assert (found.targets.dtype, found.targets.tolist()) == (np.int64, [0, 1, 0])


class TestFormats:
    @pytest.mark.parametrize(
        "content",
        [
            PETS,
            PETS.rstrip("\n"),
            PETS.replace("\n", "\r\n"),
            PETS.replace("\n", "\r"),
            PETS.replace(",", ";"),
            PETS.replace(",", "\t"),
            PETS.replace(",", " , ").replace("\n", "  \n"),
            "\n\n" + PETS.replace("\n", "\n\n"),
            "\ufeff" + PETS,
            '"weight","height","species"\n"4.5","25","cat"\n" 30","60", "dog"\n"5","24","cat"\n',
            PETS.replace("4.5", "+4.5e0").replace("60", "6E1"),
        ],
        ids=["plain", "no end", "CRLF", "CR", ";", "tab", "spaces", "empty lines", "BOM", "quotes", "exponents"],
    )
    def test_as_they_come(self, file, content):
        is_pets(read_csv(file(content)))
        is_pets(read_csv(str(file(content)), "species"))

    def test_quoted_separators_and_lines(self, file):
        found = read_csv(file('"height, cm","the\nweight",label\n1,2,"a, or b"\n3,4,"say ""c"""\n'))
        assert found.features == ("height, cm", "the\nweight")
        assert found.classes == ("a, or b", 'say "c"')

    def test_the_shipped_irises(self):
        with as_file(files("tinygrad_ce.data") / "iris.csv") as path:
            found = read_csv(path)
        assert (found.inputs.shape, found.classes) == ((150, 4), iris()[0].classes)

    names = st.text("abcxyz ,;\t\"'äß", min_size=1, max_size=6).map(lambda text: f"q{text}q")
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)

    @given(st.data())
    def test_what_the_csv_module_writes_comes_back(self, tmp_path_factory, data):
        features = data.draw(st.lists(self.names, min_size=1, max_size=4, unique=True))
        classes = data.draw(st.lists(self.names, min_size=1, max_size=3, unique=True))
        rows = data.draw(
            st.lists(
                st.tuples(
                    st.lists(self.finite, min_size=len(features), max_size=len(features)), st.sampled_from(classes)
                ),
                min_size=1,
                max_size=8,
            )
        )
        out = io.StringIO()
        writer = csv.writer(out, delimiter=data.draw(st.sampled_from(",;\t")), quoting=csv.QUOTE_ALL)
        writer.writerow([*features, "target"])
        writer.writerows([*numbers, name] for numbers, name in rows)
        path = tmp_path_factory.getbasetemp() / "round.csv"
        path.write_text(out.getvalue(), encoding="utf-8", newline="")
        found = read_csv(path, "target", features=features)
        assert found.inputs.tolist() == [list(numbers) for numbers, _ in rows]
        assert [found.classes[y] for y in found.targets] == [name for _, name in rows]
        assert list(found.classes) == sorted({name for _, name in rows})
        assert np.array_equal(read_inputs(path, features[::-1]), found.inputs[:, ::-1])


class TestHeader:
    @pytest.mark.parametrize(
        "content", ["4.5,25,cat\n30,60,dog\n", "4.5,25,3\n30,60,4\n", "4.5,25,class\n3,6,target\n"]
    )
    def test_none(self, file, content):
        found = read_csv(file(content))
        assert found.features == ("column 1", "column 2")
        assert found.inputs[0].tolist() == [4.5, 25]
        assert len(found) == 2
        assert read_csv(file(content), features=["column 2"]).inputs[0].tolist() == [25]

    @pytest.mark.parametrize(
        ("header", "target"),
        [("a,b,c", None), ("0,1,2", None), ("0,1,label", None), ("7,8,Species", None), ("2019,2020,kind", "kind")],
    )
    def test_one(self, file, header, target):
        found = read_csv(file(f"{header}\n1,2,3\n4,5,6\n"), target)
        assert found.features == tuple(header.split(",")[:2])
        assert found.inputs.tolist() == [[1, 2], [4, 5]]

    def test_a_column_without_a_name_is_an_index(self, file):
        message = "line 1: column 1 of the header has no name; a column that only counts the rows must be left out"
        with pytest.raises(ValueError, match=re.escape(message)):
            read_csv(file(",a,species\n0,1,x\n1,2,y\n"))

    def test_names_must_differ(self, file):
        with pytest.raises(ValueError, match=re.escape("line 2: the header has 'a' more than once")):
            read_csv(file("\na,b,a\n0,1,x\n"))


class TestTarget:
    @pytest.mark.parametrize("name", ["target", "Label", "CLASS", "species"])
    def test_by_its_usual_name(self, file, name):
        found = read_csv(file(f"a,{name},b\n1,x,2\n3,y,4\n"))
        assert found.features == ("a", "b")
        assert found.classes == ("x", "y")

    def test_else_the_last_or_the_one_named(self, file):
        assert read_csv(file("a,b,c\n1,2,3\n4,5,6\n")).classes == ("3", "6")
        assert read_csv(file("a,b,c\n1,2,3\n4,5,6\n"), "a").classes == ("1", "4")
        assert read_csv(file("a,label,c\n1,2,3\n4,5,6\n"), "c").features == ("a", "label")

    def test_not_clear(self, file):
        with pytest.raises(ValueError, match=re.escape("may be any of 'label', 'class'; write target='class'")):
            read_csv(file("a,label,class\n1,2,3\n"))

    def test_no_such_column(self, file):
        with pytest.raises(
            ValueError, match="there is no column 'kind'; the columns are 'weight', 'height', 'species'"
        ):
            read_csv(file(PETS), "kind")
        with pytest.raises(ValueError, match="'column 1', 'column 2', as its first line is not a header"):
            read_csv(file("1,2\n3,4\n"), "kind")

    @pytest.mark.parametrize(
        ("cells", "classes", "targets"),
        [
            (["10", "9", "0", "10"], ("0", "9", "10"), [2, 1, 0, 2]),
            (["3", "3.0", "03", "-1"], ("-1", "3"), [1, 1, 1, 0]),
            (["b", "a", "10"], ("10", "a", "b"), [2, 1, 0]),
            (["True", "False"], ("False", "True"), [1, 0]),
            (["NA", "EU"], ("EU", "NA"), [1, 0]),
        ],
    )
    def test_class_names(self, file, cells, classes, targets):
        found = read_csv(file("x,y\n" + "".join(f"1,{cell}\n" for cell in cells)))
        assert found.classes == classes
        assert found.targets.tolist() == targets

    def test_values_to_regress(self, file):
        found = read_csv(file("x,price\n1,2.5\n2,3\n"))
        assert found.classes == ()
        assert (found.targets.dtype, found.targets.tolist()) == (np.float32, [2.5, 3])
        path = file("x,price\n1,2\n2,3\n")
        assert read_csv(path).classes == ("2", "3")
        found = read_csv(path, classes=())
        assert (found.classes, found.targets.dtype, found.targets.tolist()) == ((), np.float32, [2, 3])
        message = (
            "line 2: 'price' is 'high', not a number\n  line 3: 'price' is empty\n  line 4: 'price' is inf, not a f"
        )
        with pytest.raises(ValueError, match=message):
            read_csv(file("x,price\n1,high\n2,\n3,inf\n4,0\n"), classes=())

    def test_the_columns_and_classes_of_the_training_set(self, file):
        test = file("species,id,height,weight\ndog,A7,60,30\ndog,A8,50,20\n")
        found = read_csv(test, "species", features=("weight", "height"), classes=("bird", "cat", "dog"))
        assert found.inputs.tolist() == [[30, 60], [20, 50]]
        assert found.targets.tolist() == [2, 2]
        assert (found.features, found.classes) == (("weight", "height"), ("bird", "cat", "dog"))
        with pytest.raises(
            ValueError, match=re.escape("line 2: 'species' is 'dog', which is none of the classes 'cat'")
        ):
            read_csv(test, features=("weight", "height"), classes=("cat",))
        assert read_csv(file("a,b\n1,7.0\n2,3\n"), classes=("3", "7")).targets.tolist() == [1, 0]


class TestBadRows:
    def test_all_are_named_by_line(self, file):
        path = file(
            'weight,height,species\n4.5,25,cat\n30,dog\n1,2,3,4\n,7,cat\nbig,"12,5",cat\nnan,1,dog\n1,-inf,dog\n'
            '1e39,1,dog\n1,2,\n1,2,nan\n"1\n2",3,cat\n7,8,dog\n'
        )
        with pytest.raises(ValueError) as found:  # noqa: PT011
            read_csv(path)
        head, *lines = str(found.value).split("\n  ")
        assert head == f"read_csv: {path}: 10 bad rows; mend them or take them out:"
        assert lines == [
            "line 3: 2 fields, expected 3",
            "line 4: 4 fields, expected 3",
            "line 5: 'weight' is empty",
            "line 6: 'weight' is 'big', not a number, 'height' is '12,5', not a number",
            "line 7: 'weight' is nan, not a finite number",
            "line 8: 'height' is -inf, not a finite number",
            "line 9: 'weight' is 1e39, too large for float32",
            "line 10: 'species' is empty",
            "line 11: 'species' is nan, not a finite number",
            "line 12: 'weight' is '1\\n2', not a number",
        ]

    def test_at_most_ten_are_shown(self, file):
        rows = "1,2\n" * 5 + "x,2\n" * 4 + "1\n" * 21
        with pytest.raises(ValueError, match="25 bad rows") as found:
            read_csv(file("a,b\n" + rows))
        lines = str(found.value).split("\n  ")
        assert len(lines) == 12
        assert lines[1].startswith("line 7: ")
        assert lines[-1] == "and 15 more"

    def test_one(self, file):
        with pytest.raises(ValueError, match=re.escape("1 bad row; mend it or take it out:")):
            read_csv(file("a,b\n1,2\n1\n"))

    def test_text_among_the_inputs(self, file):
        message = (
            "text in the columns 'city' (such as 'Bonn'), 'sex' (such as 'f'); inputs must be numbers. Leave these "
            "columns out, or put a column of 0 and 1 for each of their values; a target is named by target="
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            read_csv(file("city,age,sex,label\nBonn,7,f,a\nUlm,8,m,b\n,9,f,b\n"))
        assert len(read_csv(file("city,age,label\nBonn,7,a\nUlm,8,b\n"), features=["age"])) == 2

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "the file is empty"),
            ("\n\n \n", "the file is empty"),
            ("a,b,c\n", "there are no rows but the header"),
            ("species\ncat\ndog\n", "the only column is 'species', and there are none to learn from"),
            (
                "a,b\n1,2\n3,Jos\xe9\n".encode("latin-1"),
                "line 3 is not UTF-8 text (byte 0xe9); save the file as UTF-8 CSV",
            ),
            (PETS.encode("utf-16"), "line 1 is not UTF-8 text (byte 0xff)"),
            (b"PK\x03\x04\xff\xfe\n", "line 1 is not UTF-8 text"),
            ('a,b\n1,2\n"3,4\n5,6\n', "line 3 is no row of a CSV file: unexpected end of data; look at its quotes"),
            ('a,b\n1,2\n"3"x,4\n', "line 3 is no row of a CSV file: ',' expected after '\"'"),
            ("a,b,c\n1,\0,2\n", "text in the columns 'b' (such as '\\x00')"),
        ],
    )
    def test_files_that_are_no_table(self, file, content, message):
        path = file(content)
        with pytest.raises(ValueError, match=re.escape(message)) as found:
            read_csv(path)
        assert str(found.value).startswith(f"read_csv: {path}: ")

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none.csv"))):
            read_csv(tmp_path / "none.csv")
        with pytest.raises(OSError, match=re.escape(str(tmp_path))):
            read_csv(tmp_path)


class TestInputs:
    def test_the_columns_asked_for(self, file):
        path = file("name,height,weight\nTom,25,4.5\nRex,60,30\n")
        found = read_inputs(path, ["weight", "height"])
        assert (found.dtype, found.tolist()) == (np.float32, [[4.5, 25], [30, 60]])
        assert read_inputs(file("1,2,3\n"), ["column 3", "column 1"]).tolist() == [[3, 1]]

    def test_what_is_wrong(self, file):
        with pytest.raises(ValueError, match=r"read_inputs: .*there is no column 'age'; the columns are 'weight', "):
            read_inputs(file(PETS), ["age"])
        with pytest.raises(ValueError, match=r"line 3: 'b' is empty"):
            read_inputs(file("a,b\n1,2\n3,\n"), ["a", "b"])
