"""codecheck.yml, by the rules of the CODECHECK configuration 2.0 that authors can keep before a check."""

import re
from pathlib import Path

from reproduce.documents.generated import DOCUMENTS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "codecheck.yml").read_text(encoding="utf-8")


def node(name):
    """The lines of a node at the root."""
    return re.search(rf"^{name}:(.*?)(?=^\w|\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]


def test_it_is_an_explicit_document_of_a_published_version():
    assert TEXT.startswith("---\n")
    assert node("version").strip() == "https://codecheck.org.uk/spec/config/2.0/"
    assert not re.search("FIXME|TODO|XXXX", TEXT)
    assert "\t" not in TEXT


def test_the_manifest_names_files_that_are_there_with_a_comment_each():
    files = re.findall(r"^  - file: (.*)\n    comment: \S", node("manifest"), re.MULTILINE)
    assert len(files) == node("manifest").count("file:") == len(set(files))
    assert set(DOCUMENTS) <= set(files)
    for file in files:
        assert (ROOT / file).is_file(), file
        assert not Path(file).is_absolute()
        assert ".." not in file


def test_the_paper_has_its_title_its_authors_and_a_doi():
    paper, citation = node("paper"), (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n  title: {re.search('preferred-citation:.*?title: (.*?)$', citation, re.S | re.M)[1]}\n" in paper
    authors = re.findall(r"family-names: (.*)\n +given-names: (.*)", citation)
    assert re.findall("- name: (.*)", paper) == [f"{given} {family}" for family, given in authors]
    assert "reference: https://doi.org/10.48550/arXiv.1903.10663" in paper


def test_what_only_the_codechecker_knows_is_left_to_them():
    assert not re.search("^(codechecker|report|certificate|check_time|summary):", TEXT, re.MULTILINE)


def test_every_command_names_files_of_this_project():
    commands = re.findall("command: (.*)", node("gluon_cgd"))
    assert len(commands) == node("gluon_cgd").count("expected:") > 3
    for command in commands:
        program, file, *_ = command.split()
        assert program in ("bash", "python")
        assert file == "-m" or (ROOT / file).is_file(), command
