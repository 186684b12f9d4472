"""Files of columns as people have them; every fix that a message names is followed."""

import re

import pytest

from calrec.data.sources.delimited import Layout, read_delimited
from calrec.errors import DataError


@pytest.fixture
def read(tmp_path):
    def read(text, **layout):
        path = tmp_path / "shop.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_delimited(path, Layout(**layout))

    return read


def test_quotes_around_fields_and_quotes_in_the_middle_of_fields(read):
    assert read('a,b\n"1, 2","say ""hi"""\n').rows() == [("1, 2", 'say "hi"')]
    assert read('a,b\n1,5" nail\n2,7" nail\n3,the "best"\n').rows() == [
        ("1", '5" nail'), ("2", '7" nail'), ("3", 'the "best"')
    ]  # fmt: skip
    assert read('a,b\n1,5" nail\n2,"c, d"\n3,7" nail\n').rows() == [("1", '5" nail'), ("2", "c, d"), ("3", '7" nail')]
    assert read('a, b\n1, "c, d"\n').rows() == [("1", "c, d")]


SWALLOWED = 'id\ttitle\tbrand\n1\tOne\tA\n2\t"Two\tA\n3\tThree\tA\n4\tFour"\tA\n'


def test_a_quote_that_swallows_lines_is_named_and_read_as_a_letter(read):
    with pytest.raises(DataError, match=r"shop.csv: line 3: a quoted field runs .* to line 5, .*--quotes letters"):
        read(SWALLOWED, separator="\t")
    assert read(SWALLOWED, separator="\t", quotes="letters")["title"].to_list() == ["One", '"Two', "Three", 'Four"']
    assert read(SWALLOWED, separator="\t", quotes="fields").rows()[1] == ("2", "Two\tA\n3\tThree\tA\n4\tFour", "A")


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('3,"Loud Al" songs', r"line 4: text follows the quote that ends a field"),
        ('3,"Loud Al', r"line 4: the quoted field that begins here ends in line 5 before other text, or never"),
    ],
)
def test_a_field_that_goes_on_after_its_quote_is_named_and_can_be_corrected(read, line, place):
    text = f'a,b\n1,"x, y"\n2,z\n{line}\n4,w\n'
    with pytest.raises(DataError, match=rf'shop.csv: {place}: double the quotes within it \(""\), or add'):
        read(text)
    assert read(text.replace('"x, y"', "x"), quotes="letters").rows()[2] == ("3", line[2:])
    assert read(text.replace(line, '3,"""Loud Al"""')).rows()[2] == ("3", '"Loud Al"')


def test_backslashes_before_quotes(read):
    text = 'a,b\n1,"the \\"Best\\" of"\n2,"5\\" nail, long"\n'
    with pytest.raises(DataError, match="line 2: text follows the quote that ends a field: add --quotes backslash"):
        read(text)
    assert read(text, quotes="backslash").rows() == [("1", 'the "Best" of'), ("2", '5" nail, long')]


def test_fields_of_several_lines_are_read_and_named(read, caplog):
    assert read('a,b\n1,"one\ntwo, or\nthree"\n2,x\n').rows() == [("1", "one\ntwo, or\nthree"), ("2", "x")]
    assert "1 fields span lines, the first from line 2 to line 4" in caplog.text


def test_a_line_that_breaks_is_named(read, caplog):
    assert read("a,b,c\n1,one\ntwo,x\n").height == 2
    assert "line 2 has 2 fields, and the first line 3 (2 such lines)" in caplog.text


@pytest.mark.parametrize("quotes", [None, "letters"])
def test_a_separator_in_a_field_is_named(read, quotes):
    text = "a\tb\n1\tx\n2\ty\tz\n"
    with pytest.raises(DataError, match=r"line 3 has 3 fields, and the first line names 2: .*take '\\t' out") as error:
        read(text, separator="\t", quotes=quotes)
    assert ("double quotes" in str(error.value)) == (quotes is None)
    assert read(text.replace("y\tz", "y z"), separator="\t", quotes=quotes).height == 2
    assert read(text.replace("y\tz", '"y\tz"'), separator="\t").rows()[1] == ("2", "y\tz")


def test_a_separator_in_a_field_is_named_beside_quotes_in_others(read):
    with pytest.raises(DataError, match="line 3 has 3 fields, and the first line names 2: put a field"):
        read('a,b\n1,"x, y"\n2,y,z\n')
    with pytest.raises(DataError, match="line 4 has 3 fields, and the first line names 2: put a field"):
        read('a,b\n1,"x\ny"\n2,y,z\n')


@pytest.mark.parametrize("mark", [";", "\t", "|", "::", "||"])
def test_a_separator_that_is_not_named_is_seen_and_named(read, mark):
    text = f"a{mark}b\n1{mark}Story, A: the Toy\n"
    with pytest.raises(DataError, match=r"its columns stand between .*: add --separator '(.*)'") as error:
        read(text)
    named = re.search("add --separator '(.*)'", str(error.value))[1]
    assert named.replace("\\t", "\t") == mark
    assert read(text, separator=mark).rows() == [("1", "Story, A: the Toy")]


def test_two_letters_between_columns_are_seen_beside_commas_and_empty_fields(read):
    with pytest.raises(DataError, match="add --items-separator '::'"):
        read("1::Toy Story, The (1995)::Comedy\n", columns=("a", "b", "c"), separator_option="--items-separator")
    with pytest.raises(DataError, match=r"add --separator '\|'"):
        read("1|Toy Story||http\n", columns=("a", "b", "c", "d"))


def test_without_a_header(read):
    assert read("u,1\nu,2\n", columns=("who", "what")).to_dict(as_series=False) == {
        "who": ["u", "u"],
        "what": ["1", "2"],
    }
    with pytest.raises(DataError, match="line 1 has 2 fields, and --columns names 3: give a name to every column"):
        read("u,1\n", columns=("a", "b", "c"))
    with pytest.raises(DataError, match=r"line 1 is a header \(who, what\): leave --columns out"):
        read("who,what\nu,1\n", columns=("who", "sku"))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16"])
def test_other_encodings(read, encoding):
    text = "a,b\n1,Müller\n".encode(encoding)
    with pytest.raises(DataError, match="is not in UTF-8: name its encoding with --encoding"):
        read(text)
    assert read(text, encoding=encoding).rows() == [("1", "Müller")]
    assert read("a,b\n1,Müller\n", encoding=encoding).rows() == [("1", "Müller")]


def test_another_encoding_with_another_separator(read):
    assert read("a::b\n1::Müller\n".encode("latin-1"), encoding="latin-1", separator="::").rows() == [("1", "Müller")]


def test_lines_that_end_with_carriage_returns(read):
    for end in ("\r\n", "\r", "\n"):
        assert read(f"a,b{end}1,x{end}2,y{end}").rows() == [("1", "x"), ("2", "y")]


@pytest.mark.parametrize("columns", [None, ("c", "d")])
@pytest.mark.parametrize("text", ["a,b\n1,x\n\n,\n  \n2,y\n\n", "\n\na,b\r\n1,x\r\n,\r\n\r\n2,y\r\n\r\n\r\n"])
def test_blank_lines_are_no_rows_and_empty_fields_are(read, columns, text):
    rows = read(text, columns=columns).rows()
    assert rows == [*([("a", "b")] if columns else []), ("1", "x"), (None, None), ("2", "y")]


def test_names_are_without_blanks_and_no_name_stands_twice(read):
    assert read("\ufeff a , b\n1,x\n").columns == ["a", "b"]
    assert read(",b\n1,x\n").columns == ["column 1", "b"]
    with pytest.raises(DataError, match="two columns are called 'a': rename one of them"):
        read("a, a\n1,x\n")


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff\n"])
def test_a_file_without_rows(read, text):
    with pytest.raises(DataError, match=r"shop\.csv is empty"):
        read(text)
