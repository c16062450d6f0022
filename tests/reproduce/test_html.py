import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.experiment import REVISION, Experiment
from reproduce import selection
from reproduce.page import html, svg
from reproduce.page.details import anchor
from reproduce.report import comparison, formats
from reproduce.tables import EVERYTHING, FIGURE3, TABLE1, TABLE5, TABLE7, Row, Table
from visualize import curves

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
VOID = {"meta", "link", "br", "img", "hr", "input"}


def run(experiment, seed, recall=0.8, **others):
    """The result of a finished run, as far as a page needs it; its recalls are of no training."""
    ks = {"sop": (1, 10, 100, 1000), "inshop": (1, 10, 20, 30, 40, 50)}.get(experiment.dataset, (1, 2, 4, 8))
    names = [DESCRIPTORS[letter].__name__ for letter in experiment.descriptors]
    history = []
    for step in range(4):
        value = recall - 0.3 / (1 + step) + 0.004 * seed
        entry = {"iteration": 100 * step, "recall": {f"R@{k}": 1 - (1 - value) / k for k in ks}}
        if experiment.has_branches:
            entry["branches"] = {name: {"R@1": value - 0.01 * (i + 1)} for i, name in enumerate(names)}
        history.append(entry)
    parts = {"untrained": history[0], "last": history[-1], "best": history[-1]}
    return {
        "experiment": experiment.to_dict(),
        "seed": seed,
        "iterations": 300,
        "best_iteration": 300,
        **{which: entry["recall"] for which, entry in parts.items()},
        "branches": {which: entry.get("branches", {}) for which, entry in parts.items()},
        "history": history,
        "seconds": 90.0,
        "device": "cpu(0)",
        "versions": {"python": "3.8.1", "mxnet": "1.9.1"},
        "data": f"da7a{seed}",
        "weights": None,
        "parameters_sha256": f"{seed:064x}",
        **others,
    }


def of(tables, small, seeds=2, left_out=()):
    """results(experiment) for every row of `tables` but those named `left_out`."""
    rows = [row for table in tables for row in selection.rows_in(table, small) if row.experiment]
    wanted = {selection.experiment_of(row, small) for row in rows if row.name not in left_out}
    return lambda experiment: [run(experiment, seed) for seed in range(seeds)] if experiment in wanted else []


LAST = replace(TABLE7, rows=tuple(row for row in TABLE7.rows if row.name == "CGD SE-ResNet-50‡ 1536"))
RAN = of((*EVERYTHING[:4], LAST), False, left_out=("Sum", "LS"))


@pytest.fixture(scope="module")
def real():
    """All tables; Tables 1 to 4 and a row of Table 7 have run."""
    return html.page(EVERYTHING, RAN, False)


@pytest.fixture(scope="module")
def mini():
    """The mini form of all tables; Tables 1 and 5 have run, and with it Figure 3."""
    return html.page(EVERYTHING, of((TABLE1, TABLE5), True, seeds=3, left_out=("GSM",)), True)


class Checked(HTMLParser):
    """Reads a page; raises AssertionError for a tag that is not closed, or closed in another's place."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        self.links += [value for name, value in attributes if name in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()


def body(page):
    """The page's body as a tree."""
    return ElementTree.fromstring(page[page.index("<body") : page.index("</html>")])


def lines(tree, table):
    """{(row, line's name): [text of each cell]} of a table's section; of Table 7's benchmarks the last one's."""
    found = {}
    for part in tree.find(f".//section[@id='{table}']").iter("tbody"):
        name = part.find("tr/th")
        for line in part:
            first, *cells = ("".join(cell.itertext()) for cell in line.iter("td"))
            found["".join(name.itertext()), re.sub(",.*", "", first)] = cells
    return found


@pytest.mark.parametrize("form", [pytest.param("real", marks=pytest.mark.slow), "mini"])
def test_the_page_is_whole_and_needs_nothing_else(form, request):
    page = request.getfixturevalue(form)
    read = Checked(page)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert {"title", "style", "main", "nav", "svg", "figure", "details"} <= {tag for tag, _ in read.tags}
    assert ("meta", {"charset": "utf-8"}) in read.tags
    assert len(set(read.ids)) == len(read.ids) > 20
    inner = {link for link in read.links if link.startswith("#")}
    assert inner <= {f"#{name}" for name in read.ids}
    assert {link for link in read.links if not link.startswith("#")} == {html.PAPER}
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in read.tags}
    assert not re.search(r"@import|url\(", page)
    assert len(page) < 1_000_000


@pytest.mark.slow
def test_a_page_of_every_table_with_three_seeds_stays_small(real):
    sections = re.findall(r'<section class="run".*?</section>', real, re.DOTALL)
    experiments = {row.experiment for table in EVERYTHING for row in table.rows if row.experiment}
    assert 8 <= len(sections) < len(experiments) < 120
    assert max(map(len, sections)) * 1.5 * len(experiments) + len(real) < 3_000_000


def test_every_table_and_every_row_is_there(real, mini):
    for page, small in ((real, False), (mini, True)):
        tree = body(page)
        shown = EVERYTHING
        assert [link.get("href") for link in tree.iterfind(".//nav//a")] == [*(f"#{t.name}" for t in shown), "#runs"]
        for table in shown:
            section = tree.find(f".//section[@id='{table.name}']")
            names = {"".join(one.itertext()) for one in section.iter("th")}
            rows = {row.name for row in selection.rows_in(table, small)}
            if table is FIGURE3:
                rows = {part for name in rows for part in name.split(" ")}
            assert rows <= names


@pytest.mark.parametrize("table", EVERYTHING[:7], ids=lambda table: table.name)
def test_the_numbers_are_those_of_the_report(real, table):
    found = lines(body(real), table.name)
    for row in table.rows:
        benchmarks = {column.rpartition(" ")[0] for column in row.published}
        if table is TABLE7 and "In-shop" not in benchmarks:
            continue
        columns = [column for column in row.published if table is not TABLE7 or column.startswith("In-shop")]
        published = [formats.number(row.published[column]) for column in columns]
        assert [cell for cell in found[row.name, "published"] if cell != "-"] == published
        ours = comparison.ours(RAN(row.experiment) if row.experiment else [], "last", columns, table is TABLE5)
        if ours:
            assert [cell for cell in found[row.name, "ours"] if cell != "-"] == list(map(formats.number, ours.values()))
            apart = [formats.difference(row.published[column], our) for column, our in ours.items()]
            cells = [cell for cell in found[row.name, "difference"] if cell != "-"]
            assert [cell.split(" ")[0] for cell in cells] == apart
            assert all(("(over 1 point)" in cell) == (abs(float(cell.split(" ")[0])) > 1) for cell in cells)


def test_mini_numbers_stand_beside_the_untrained_ones_and_never_on_the_published_axis(mini):
    tree = body(mini)
    found = lines(tree, "table5")
    results = of((TABLE5,), True, seeds=3)(selection.experiment_of(TABLE5.rows[3], True))
    for line, which in (("mini", "last"), ("untrained", "untrained")):
        ours = comparison.ours(results, which, ("Combined", "SPoC", "MAC"), True)
        assert found["SM", line] == [*map(formats.number, ours.values()), "-"]
    assert "MINI:" in "".join(tree.find(".//p[@class='warning']").itertext())
    assert ("SM", "difference") not in found
    for plot in tree.iter("svg"):
        assert "published" not in "".join(plot.itertext())
        assert "var(--line1)" not in ElementTree.tostring(plot.find("g"), encoding="unicode") or "runs-" in plot.get(
            "aria-labelledby"
        )


def test_a_row_that_has_not_run_says_the_command(real, mini):
    assert lines(body(real), "table4")["Sum", "ours"] == ["not run: bash reproduce/table4.sh"]
    assert lines(body(mini), "table3")["B", "mini"] == ["not run: bash reproduce/table3.sh --mini"]
    nothing = html.page(EVERYTHING, lambda experiment: [], True, seeds=4)
    assert lines(body(nothing), "table1")["Rank", "mini"] == ["not run: bash reproduce/table1.sh --mini --seeds 4"]
    assert "<svg" not in nothing
    Checked(nothing)


def test_only_as_many_seeds_count_as_the_table_has():
    found = lines(body(html.page([TABLE1], of((TABLE1,), False, seeds=7), False)), "table1")
    expected = comparison.ours([run(TABLE1.rows[0].experiment, seed) for seed in range(5)], "last", ["R@1"], False)
    assert found["Rank", "ours"][0] == formats.number(expected["R@1"])


def test_a_number_leads_to_its_runs_whose_lines_say_what_the_results_say(real):
    tree = body(real)
    both = TABLE1.rows[1].experiment
    links = [a.get("href") for a in tree.iterfind(".//section[@id='table1']//table//a")]
    assert links[4:] == [f"#{anchor(both)}"] * 4
    section = tree.find(f".//section[@id='{anchor(both)}']")
    told = "".join(section.itertext())
    assert section.find("h3").text == "Table 1 Both, Table 2 None, Text Both"  # equal rows are one experiment
    assert "descriptors='SM', smoothing=0.0, temperature=1.0; all else by default" in told
    assert f"{both.key()}/r{REVISION}-seed1" in told
    assert f"{1:064x}" in told
    recalls, origins = section.iter("table")
    values = [cell.text for cell in recalls.findall("tbody/tr")[1]]
    result = run(both, 1)
    assert values[:5] == ["1", *(f"{100 * value:.2f}" for value in result["last"].values())]
    assert values[-4:] == ["300", "300", "1.5", "cpu(0)"]
    assert [cell.text for cell in origins.findall("tbody/tr")[1]][1:4] == ["-", "python 3.8.1, mxnet 1.9.1", "-"]


def test_names_and_verdicts_are_text_whatever_they_hold():
    name, sentence = '<i>$x$ & "q"† ‡', "lower <script>alert(1)</script>"
    experiment = Experiment(dataset="/data/a<b>&c", descriptors="S")
    table = Table("table1", "<u>one</u> & two", (Row(name, experiment, TABLE1.rows[0].published),), seeds=1)
    results = [run(experiment, 0, device="<gpu>", commit="ec9e017", machine={"cpu": "A & B", "cores": 2})]
    page = html.page([table], lambda experiment: results, False, "best", {("table1", name, "R@2"): sentence})
    Checked(page)
    assert not re.search("<script|<i>|<u>|<b>|<gpu>", page)
    tree = body(page)
    assert lines(tree, "table1")[name, "ours"][1].endswith(f" {sentence}")
    assert "A & B" in "".join(tree.find(".//details").itertext())
    assert "the best evaluation of each run, its highest Recall@1 on the test set" in "".join(
        tree.find(".//dl").itertext()
    )
    assert name in ["".join(text.itertext()) for text in tree.iter("text")]  # a $ begins no formula


def test_a_run_that_says_little_is_shown_too():
    rows = {row.experiment: dict(run(row.experiment, 0)) for row in TABLE1.rows}
    for result in rows.values():
        for name in set(result) - {"experiment", "seed", "last", "untrained", "best"}:
            del result[name]
    page = html.page([TABLE1], lambda experiment: [rows[experiment]], False)
    Checked(page)
    assert page.count("<svg") == 1  # no history, no curve


@pytest.mark.parametrize("evaluations", [2, 3])
def test_two_evaluations_are_no_curve(evaluations):
    def results(experiment):
        whole = run(experiment, 0)
        return [{**whole, "history": [*whole["history"][: evaluations - 1], whole["history"][-1]]}]

    page = html.page([TABLE1], results, False)
    assert page.count("<svg") == (1 if evaluations == 2 else 1 + len(TABLE1.rows))


@pytest.mark.parametrize(("better", "outcome"), [(0.8, "1 undecided"), (0.95, "1 holds"), (0.6, "1 opposite here")])
def test_the_contents_say_how_many_orderings_hold_and_how_many_are_undecided(better, outcome):
    recalls = dict(zip((selection.experiment_of(row, True) for row in TABLE1.rows), (0.8, better)))

    def results(experiment):
        return [run(experiment, seed, recalls[experiment]) for seed in range(6)]

    contents = body(html.page([TABLE1], results, True)).find(".//nav")
    cells = [cell.text for cell in contents.iter("td") if cell.text]
    assert cells == ["2 of 2", outcome]


def test_equal_runs_give_an_equal_page(tmp_path):
    results = of((TABLE1,), True)
    html.write(tmp_path / "page.html", [TABLE1], results, True)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == html.page([TABLE1], results, True)


def test_plots_are_in_the_pages_colours_and_say_what_they_show(real, mini):
    for page in (real, mini):
        for plot in body(page).iter("svg"):
            assert not re.search("#[0-9a-f]{6}", ElementTree.tostring(plot, encoding="unicode"))
            assert re.match(r"(Table \d|Figure \d|Text|Details|Extensions).*Recall@1", plot.find("title").text)
            assert plot.get("aria-labelledby") == plot.find("title").get("id")
        used = set(re.findall(r"var\(--(\w+)\)", page))
        assert all((html.TEMPLATES / "page.css").read_text(encoding="utf-8").count(f"--{name}:") == 2 for name in used)


def test_ten_seeds_have_lines_that_can_be_told_apart():
    drawing = svg.inline(lambda: curves.curves([run(Experiment(), seed) for seed in range(10)]), "x", "ten")
    looks = {
        re.sub(r"stroke-dashoffset: 0; ?", "", style)
        for style in re.findall(r'style="(fill: none; stroke[^"]*1\.5[^"]*)"', drawing)
    }
    assert len(looks) == 10
    assert all(f">seed {seed}<" in drawing for seed in range(10))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH")
@pytest.mark.parametrize("form", ["real", "mini"])
def test_a_browser_shows_it_without_complaint_and_nothing_sticks_out(form, request, tmp_path):
    page = request.getfixturevalue(form)
    measure = """<script>
      const outside = [...document.querySelectorAll("svg text")].filter(text => {
        const box = text.getBBox(), whole = text.ownerSVGElement.viewBox.baseVal;
        return !text.transform.baseVal.length && (box.x < -1 || box.y < -1 || box.x + box.width > whole.width + 1 ||
          box.y + box.height > whole.height + 1);
      });
      const wide = document.documentElement.scrollWidth - innerWidth;
      const contents = document.querySelector("nav .wide");
      contents.style.width = "368px"; // of a telephone, 400 without the margins
      const cut = contents.scrollWidth - contents.clientWidth;
      document.title = `sticks out: ${Math.max(0, wide) + cut} pixels, ${outside.length} texts of ` +
        document.querySelectorAll("svg text").length;
    </script></body>"""
    (tmp_path / "page.html").write_text(page.replace("</body>", measure), encoding="utf-8")
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--window-size=500,900",
    ]
    command += [f"--user-data-dir={tmp_path}/profile", "--dump-dom", f"file://{tmp_path}/page.html"]
    shown = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert "CONSOLE" not in shown.stderr
    found = re.search(r"<title>sticks out: 0 pixels, 0 texts of (\d+)</title>", shown.stdout)
    assert found, re.search("<title>.*</title>", shown.stdout)[0]
    assert int(found[1]) > 50
    assert shown.stdout.count("</svg>") == page.count("</svg>")


def test_whatever_a_result_says_is_text_on_the_page():
    hostile = "<img src=x onerror=alert(1)>\x1b[31m'\"&\u202e"
    said = dict(machine=hostile, device=hostile, commit=hostile, weights=hostile, parameters_sha256=hostile)
    said.update(data=hostile, versions={hostile: hostile}, best_iteration=hostile, iterations=hostile)
    table = replace(TABLE1, rows=TABLE1.rows[:1])

    def results(experiment):
        recalls = run(experiment, 0, **said)
        for which in ("untrained", "last", "best"):
            recalls[which] = {**recalls[which], hostile: 0.5}
        return [recalls]

    for small in (False, True):
        page = html.page([table], results, small, verdicts={(table.name, table.rows[0].name, "R@1"): hostile})
        Checked(page)
        assert "<img" not in page
        assert "onerror" in page
        assert not [character for character in page if not character.isprintable() and character != "\n"]
