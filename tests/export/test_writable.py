import os
import stat
from pathlib import Path

import pytest

from bedside.export.writable import check_writable, report_paths
from bedside.runtime.errors import SinkError


def test_reports_lie_beside_the_bundle() -> None:
    assert report_paths(Path("a/x.bedside")) == (Path("a/x.report.html"), Path("a/x.report.json"))
    assert report_paths(Path("plain")) == (Path("plain.report.html"), Path("plain.report.json"))


def test_a_folder_to_come_is_fine_and_nothing_is_left(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deep" / "x.bedside")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.bedside", "x.report.html", "x.report.json"])
def test_something_else_is_in_the_way(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(SinkError, match="no regular file"):
        check_writable(tmp_path / "x.bedside")


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be written"):
        check_writable(tmp_path / "file" / "x.bedside")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(SinkError, match="Permission denied"):
            check_writable(tmp_path / "x.bedside")
    finally:
        tmp_path.chmod(stat.S_IRWXU)
