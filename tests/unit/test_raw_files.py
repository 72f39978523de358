import gzip
from datetime import UTC, datetime

import polars as pl
import pytest

from recsys.cf.data.raw import read_interactions, read_items
from recsys.config.schema import InteractionColumns, ItemColumns
from recsys.errors import EmptyDataError, RawDataError

COLUMNS = InteractionColumns()
CSV = "user_id,product_id,rating,cmt_date,comment\n007,00012,5,2023-05-04,tốt\n8,a b,4.0,04/05/2023,\n"
DAY = datetime(2023, 5, 4, tzinfo=UTC)


def write(path, text):
    path.write_text(text, "utf-8")
    return path


def test_csv_ids_keep_their_zeros_and_spaces(tmp_path):
    rows = read_interactions(write(tmp_path / "r.csv", CSV), COLUMNS)
    assert rows["user_id"].to_list() == ["007", "8"]
    assert rows["item_id"].to_list() == ["00012", "a b"]
    assert rows["rating"].to_list() == [5.0, 4.0]
    assert rows["timestamp"].to_list() == [DAY, DAY]
    assert rows["comment"].to_list() == ["tốt", None]
    assert rows["comment_quality"].to_list() == [None, None]


def test_compressed_csv_and_byte_order_mark_make_no_difference(tmp_path):
    plain = read_interactions(write(tmp_path / "r.csv", CSV), COLUMNS)
    packed = tmp_path / "r.csv.gz"
    packed.write_bytes(gzip.compress(CSV.encode()))
    marked = tmp_path / "bom.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + CSV.encode())
    assert read_interactions(packed, COLUMNS).equals(plain)
    assert read_interactions(marked, COLUMNS).equals(plain)


def test_parquet_ids_of_any_type_become_strings(tmp_path):
    path = tmp_path / "r.parquet"
    frame = pl.DataFrame(
        {
            "user_id": [1.0, None],
            "asin": [10, 20],
            "overall": [5, 1],
            "unixReviewTime": [1683158400, 1683158400],
        }
    )
    frame.write_parquet(path)
    rows = read_interactions(path, COLUMNS)
    assert rows["user_id"].to_list() == ["1", None]
    assert rows["item_id"].to_list() == ["10", "20"]
    assert rows["timestamp"].to_list() == [DAY, DAY]


def test_fractional_ids_are_refused(tmp_path):
    path = tmp_path / "r.parquet"
    pl.DataFrame({"user_id": [1.5], "item_id": ["a"], "rating": [5], "date": ["2023-05-04"]}).write_parquet(
        path
    )
    with pytest.raises(RawDataError, match=r"user_id holds fractions such as 1\.5"):
        read_interactions(path, COLUMNS)


def test_blank_and_unreadable_values_become_null(tmp_path):
    text = "user_id,item_id,rating,date\n ,a,five,soon\nu,,nan,\nu,b,inf,2023-05-04\n"
    rows = read_interactions(write(tmp_path / "r.csv", text), COLUMNS)
    assert rows["user_id"].to_list() == [None, "u", "u"]
    assert rows["item_id"].to_list() == ["a", None, "b"]
    assert rows["rating"].to_list() == [None, None, None]
    assert rows["timestamp"].null_count() == 2


def test_missing_columns_are_named_all_at_once_with_the_way_out(tmp_path):
    path = write(tmp_path / "r.csv", "who,item_id,date\nu,a,2023-05-04\n")
    with pytest.raises(RawDataError) as caught:
        read_interactions(path, COLUMNS)
    message = str(caught.value)
    for part in (
        "user_id",
        "rating",
        "who, item_id, date",
        "r.csv",
        "--column user_id=NAME",
        "stars, 1 to 5",
    ):
        assert part in message


def test_a_missing_column_of_products_names_their_own_option(tmp_path):
    with pytest.raises(RawDataError, match="--item-column item_id=NAME"):
        read_items(write(tmp_path / "p.csv", "which,title\na,Soap\n"), ItemColumns())


def test_configured_names_win_and_must_exist(tmp_path):
    path = write(tmp_path / "r.csv", "user_id,who,item_id,rating,date\nwrong,right,a,5,2023-05-04\n")
    assert read_interactions(path, InteractionColumns(user_id="who"))["user_id"].to_list() == ["right"]
    with pytest.raises(RawDataError, match="configured as 'nobody'"):
        read_interactions(path, InteractionColumns(user_id="nobody"))


def test_usual_names_ignore_case(tmp_path):
    path = write(tmp_path / "r.csv", "User_ID,ASIN,Rating,Date\nu,a,5,2023-05-04\n")
    assert read_interactions(path, COLUMNS).height == 1


def test_ready_quality_outside_the_unit_interval_is_a_scale_mistake(tmp_path):
    path = write(tmp_path / "r.csv", "user_id,item_id,rating,date,comment_quality\nu,a,5,2023-05-04,85\n")
    with pytest.raises(RawDataError, match=r"\[0, 1\], but 1 values do not \(seen 85\.\.85\)"):
        read_interactions(path, COLUMNS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", b""),
        ("r.csv", b"user_id,item_id,rating,date\nu,\xff\xfe,5,2023-05-04\n"),
        ("r.csv.gz", b"no gzip"),
        ("r.parquet", b"PAR1 no parquet"),
        ("r.parquet", b""),
        ("r.xlsx", b"x"),
    ],
)
def test_unreadable_files_are_raw_data_errors(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RawDataError, match=name):
        read_interactions(path, COLUMNS)


def test_missing_file_and_header_without_rows(tmp_path):
    with pytest.raises(RawDataError, match="is not a file"):
        read_interactions(tmp_path / "none.csv", COLUMNS)
    with pytest.raises(EmptyDataError, match="no rows"):
        read_interactions(write(tmp_path / "r.csv", CSV.splitlines()[0] + "\n"), COLUMNS)


def test_items_are_unique_sorted_and_may_lack_everything_but_the_id(tmp_path):
    text = "product_id,product_name,num_sold_time\n02,B,5\n01,A,x\n02,again,9\n,nameless,1\n"
    items = read_items(write(tmp_path / "p.csv", text), ItemColumns())
    assert items.rows() == [("01", "A", None), ("02", "B", 5.0)]
    bare = read_items(write(tmp_path / "q.csv", "item_id\n1\n"), ItemColumns())
    assert bare.rows() == [("1", None, None)]


def test_a_column_named_quality_is_a_ready_score(tmp_path):
    path = write(tmp_path / "r.csv", "user_id,item_id,rating,date,quality\nu,a,5,2023-05-04,0.25\n")
    assert read_interactions(path, COLUMNS)["comment_quality"].to_list() == [0.25]
