"""Papers: each can be cited, none twice."""

import re

import pytest

from tutelage.citations import PAPERS


@pytest.mark.parametrize("key", PAPERS)
def test_a_paper_has_what_a_bibliography_needs(key):
    """Title, authors, year, venue, a place to find it, and braces that match."""
    paper = PAPERS[key]
    entry = paper.bibtex()
    assert paper.title in entry
    assert all(author in entry for author in paper.authors)
    assert paper.arxiv or paper.doi
    assert entry.count("{") == entry.count("}")
    assert re.match(r"@(article|inproceedings)\{[a-z0-9]+,\n", entry)


@pytest.mark.parametrize("key", [key for key in PAPERS if PAPERS[key].arxiv])
def test_a_paper_is_not_older_than_its_preprint(key):
    """The first two digits of an arXiv number are the year of the first version."""
    arxiv = PAPERS[key].arxiv
    assert arxiv is not None
    assert re.fullmatch(r"\d{4}\.\d{5}", arxiv)
    assert PAPERS[key].year >= 2000 + int(arxiv[:2])


@pytest.mark.parametrize(
    ("key", "short", "full"),
    [
        ("jensen-shannon", "Lin", "Jianhua Lin"),
        ("alpha-divergence", "Cichocki and Amari", "Andrzej Cichocki and Shun-ichi Amari"),
        ("hinton", "Hinton et al.", "Geoffrey Hinton, Oriol Vinyals and Jeff Dean"),
    ],
)
def test_one_two_and_many_authors_are_named_as_people_name_them(key, short, full):
    """`et al.` stands for two or more whom nobody names, never for one."""
    paper = PAPERS[key]
    assert str(paper).startswith(f"{short} {paper.year}, {paper.title} (")
    assert paper.all_authors == full


def test_bibtex_keys_differ():
    """Two papers under one key would overwrite each other in a bibliography."""
    keys = [paper.bibtex().partition(",")[0] for paper in PAPERS.values()]
    assert len(set(keys)) == len(keys)
