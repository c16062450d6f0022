"""The page in a real browser, as people use it: Debian's chromium and chromium-driver, by selenium."""

import shutil
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from tests.serve.conftest import Visitor, ids, serving

pytest.importorskip("flask")
pytest.importorskip("waitress")
selenium = pytest.importorskip("selenium")
BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium, or no chromium-driver, on the PATH"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # selenium leaves its log and its sockets open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WAIT = 60  # seconds, on a busy machine


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A Chromium without a window."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1200,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(WAIT)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, answers):
    """The page of the index. Nothing that it does may be complained of in the browser's console."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    from gluon_cgd.serve.guard import Guard

    def all_of(selector):
        return browser.find_elements(By.CSS_SELECTOR, selector)

    def until(holds):
        return WebDriverWait(browser, WAIT, 0.05).until(lambda _: holds())

    def asked():
        return {name: values[0] for name, values in parse_qs(urlsplit(browser.current_url).query).items()}

    def tiles():
        """[(name, folder, cosine), ...] as they are shown, when nothing is loaded any more."""
        until(lambda: all_of("#grid li") and not all_of("#grid[aria-busy]"))
        script = """return [...document.querySelectorAll("#grid li")].map(li => [".name", ".folder", ".cosine"].map(
            part => li.querySelector(part)?.textContent ?? ""))"""
        return [tuple(tile) for tile in browser.execute_script(script)]

    def draw(selector, left, top, right, bottom):
        """Drag a box over an element, in parts of it."""
        from selenium.webdriver.common.action_chains import ActionChains

        element = all_of(selector)[0]
        width, height = element.size["width"], element.size["height"]
        start = ActionChains(browser, duration=20).move_to_element_with_offset(
            element, (left - 0.5) * width, (top - 0.5) * height
        )
        start.click_and_hold().move_by_offset((right - left) * width, (bottom - top) * height).release().perform()

    def press(*keys):
        browser.switch_to.active_element.send_keys(*keys)

    with serving(answers, Guard("127.0.0.1")) as port:
        browser.get(f"http://127.0.0.1:{port}/")
        tools = dict(all=all_of, one=lambda selector: all_of(selector)[0], until=until, asked=asked, tiles=tiles)
        yield SimpleNamespace(browser=browser, visitor=Visitor(port), draw=draw, press=press, **tools)
        complaints = [entry["message"] for entry in browser.get_log("browser")]
        assert not complaints
        browser.get("about:blank")


def shown(answer):
    """The results of an answer as `tiles` returns them."""
    return [(one["name"], one["folder"], f"{one['cosine']:.3f}") for one in answer["results"]]


def sees(page, /, **values):
    """Wait until the page shows what the server answers to `values`."""
    expected = shown(page.visitor.get("/api/search", **values))
    page.until(lambda: page.tiles() == expected)


def test_click_search_compare_share_and_go_back(page):
    assert len(page.tiles()) == 25
    assert "The collection" in page.one("#status").text
    name, folder, _ = page.tiles()[3]
    query = ids(page.visitor)[f"{folder}/{name}"]
    page.all("#grid .pick")[3].click()
    sees(page, q=query)
    assert page.one(".badge").text == "the query itself"
    page.all("#grid .pick")[2].click()
    page.until(lambda: len(page.all("#views button")) == 5)
    views = [button.text.split()[0] for button in page.all("#views button")]
    assert views == ["Photos", "All", "SPoC", "MAC", "Difference"]
    result = page.visitor.get("/api/search", q=query)["results"][2]
    assert page.one("#compare-title").text == f"{result['name']} · cosine {result['cosine']:.4f}"
    drawn = "return document.querySelector('#left canvas').toDataURL()"
    pictures = set()
    for button in range(5):
        page.all("#views button")[button].click()
        pictures.add(page.browser.execute_script(drawn))
    assert len(pictures) == 5  # each view is another picture
    assert f"{1 - result['cosine']:.4f}, which is 1 − cosine" in page.one("#says").text
    left = page.one("#left-name").text
    page.one("#turn").click()
    page.until(lambda: page.one("#right-name").text == left)
    address = page.browser.current_url
    assert page.asked() == dict(q=query, r=result["id"], view="difference", turned="1")
    page.browser.get("about:blank")
    page.browser.get(address)  # as somebody else, to whom it was sent
    page.until(lambda: len(page.all("#views button")) == 5 and page.one("#right-name").text == left)
    assert page.one("#views [aria-checked=true]").text.startswith("Difference")
    page.one("#close").click()
    page.until(lambda: "r" not in page.asked())
    page.browser.back()
    page.until(lambda: page.one("#compare").is_displayed())
    page.one("#search-this").click()
    sees(page, q=result["id"])


def test_an_address_with_a_result_of_another_page_is_compared_too(page, monkeypatch):
    from gluon_cgd.serve import answers

    monkeypatch.setattr(answers, "PAGE", 4)
    query = page.visitor.get("/api/pictures")["results"][0]["id"]
    far = page.visitor.get("/api/search", q=query, page=6)["results"][1]
    page.browser.get(f"http://127.0.0.1:{page.visitor.port}/?q={query}&r={far['id']}")
    page.until(lambda: page.one("#compare-title").text == f"{far['name']} · cosine {far['cosine']:.4f}")
    assert page.one("#right-name").text == f"Result · {far['name']} · {far['folder']}"
    assert page.one("#next").get_property("disabled")
    page.browser.get(f"http://127.0.0.1:{page.visitor.port}/?q={query}&r=ffffffffffffffff")
    page.until(lambda: "is no picture of this index" in page.one("#compare-alert").text)
    complaints = page.browser.get_log("browser")  # the browser names the status 404, of the picture and of the maps
    assert len(complaints) == 2


def test_a_part_of_a_picture_is_answered_in_the_other(page):
    page.tiles()
    page.all("#grid .pick")[0].click()
    page.until(lambda: page.all("#grid .own"))
    page.all("#grid .pick")[4].click()
    page.until(lambda: len(page.all("#views button")) == 5)
    before = page.browser.execute_script("return document.querySelector('#right canvas').toDataURL()")
    page.draw("#left", 0.1, 0.1, 0.45, 0.9)
    page.until(lambda: "The marked part adds" in page.one("#says").text)
    region = page.visitor.get("/api/compare", q=page.asked()["q"], r=page.asked()["r"], region="0.1,0.1,0.45,0.9")
    sign = "+" if region["answer"]["sum"] >= 0 else "−"
    assert f"{sign}{abs(region['answer']['sum']):.3f} to the cosine" in page.one("#says").text
    assert before != page.browser.execute_script("return document.querySelector('#right canvas').toDataURL()")
    page.one("#no-region").click()
    page.until(lambda: "The marked part" not in page.one("#says").text)


def test_a_dropped_and_a_pasted_picture_and_a_box(page, shop):
    page.tiles()
    for number, event in enumerate(("drop", "paste", "choose")):
        file = shop.photos / f"small/letter {2 * (number % 2)}/{number}.png"
        if event == "choose":
            page.one("#file").send_keys(str(file))
        else:
            page.browser.execute_script(GIVE, list(file.read_bytes()), event)
        name = page.visitor.upload(file.read_bytes())
        page.until(lambda name=name: page.asked().get("q") == name)
        sees(page, q=name)
        assert page.one("#query-name").text == "Your picture"
    page.until(lambda: page.browser.execute_script("return document.getElementById('query-image').naturalWidth > 0"))
    page.draw("#stage", 0.2, 0.25, 0.8, 0.75)
    page.until(lambda: "box" in page.asked())
    box = page.asked()["box"]
    width, height = (page.visitor.get("/api/search", q=name)["query"][side] for side in ("width", "height"))
    wanted = [0.2 * width, 0.25 * height, 0.8 * width, 0.75 * height]
    assert np.abs(np.subtract([int(number) for number in box.split(",")], wanted)).max() <= 2
    sees(page, q=name, box=box)
    page.one("#whole").click()
    sees(page, q=name)
    page.one("#clear").click()
    page.until(lambda: len(page.tiles()) == 25 and not page.asked())


def test_what_cannot_be_read_is_said_and_nothing_is_lost(page, tmp_path):
    page.tiles()
    (tmp_path / "no.png").write_bytes(b"not a picture")
    page.one("#file").send_keys(str(tmp_path / "no.png"))
    page.until(lambda: page.one("#alert").is_displayed())
    assert page.one("#alert").text.startswith("The picture is not a picture that can be read")
    assert len(page.tiles()) == 25
    complaints = page.browser.get_log("browser")  # the browser names the status 422
    assert len(complaints) == 1
    assert "422" in complaints[0]["message"]


def test_folder_threshold_and_pages(page, monkeypatch):
    from gluon_cgd.serve import answers

    monkeypatch.setattr(answers, "PAGE", 4)
    page.tiles()
    page.all("#grid .pick")[0].click()
    page.until(lambda: page.all("#grid .own"))
    query = page.asked()["q"]
    page.all("#grid .tile")[0].find_element("css selector", ".folder").click()
    page.until(lambda: "folder" in page.asked())
    sees(page, q=query, folder=page.asked()["folder"])
    assert page.one("#folder").get_attribute("value") == page.asked()["folder"]
    page.one("#no-folder").click()
    sees(page, q=query)
    page.one(".pager button[aria-label='Next page']").click()
    sees(page, q=query, page=2)
    assert page.one(".pager span").text == "2 of 7"
    cosines = page.visitor.get("/api/search", q=query)["cosines"]
    least = round((cosines[5] + cosines[6]) / 2, 3)
    page.browser.execute_script(
        """const slider = document.getElementById("least"); slider.value = arguments[0];
        for (const name of ["input", "change"]) slider.dispatchEvent(new Event(name, {bubbles: true}));""",
        least,
    )
    page.until(lambda: "min" in page.asked())
    sees(page, q=query, min=least)
    count = page.visitor.get("/api/search", q=query, min=least)["total"]
    assert page.one("#least-value").text == f"{least:.3f} · {count} pictures"
    assert f"{count} pictures with a cosine of {least:.3f} or more" in page.one("#status").text
    page.one("#suggest").click()
    suggested = page.visitor.get("/api/threshold")
    page.until(lambda: page.one("#suggestion").text.lower() == suggested["sentence"].lower())
    page.until(lambda: float(page.asked()["min"]) == suggested["cosine"])
    sees(page, q=query, min=suggested["cosine"])


def test_by_keyboard_alone(page):
    from selenium.webdriver.common.keys import Keys

    page.tiles()
    page.press(Keys.ARROW_DOWN)
    for _ in range(2):
        page.press(Keys.ARROW_RIGHT)
    page.press(Keys.ENTER)
    page.until(lambda: page.all("#grid .own"))
    query = page.asked()["q"]
    assert page.tiles()[0][2] == "1.000"
    page.browser.execute_script("document.getElementById('stage').focus()")
    page.press(Keys.ENTER)
    page.press(Keys.ARROW_RIGHT)
    page.press(Keys.SHIFT, Keys.ARROW_DOWN)
    page.press(Keys.NULL, Keys.ENTER)
    page.until(lambda: "box" in page.asked())
    sees(page, q=query, box=page.asked()["box"])
    page.browser.execute_script("document.getElementById('stage').focus()")
    page.press(Keys.DELETE)
    sees(page, q=query)
    page.browser.execute_script("document.activeElement.blur()")
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_RIGHT)
    page.press(Keys.ENTER)
    page.until(lambda: len(page.all("#views button")) == 5)
    first = page.asked()["r"]
    page.press(Keys.ARROW_RIGHT)
    page.until(lambda: page.asked()["r"] != first)
    page.until(lambda: len(page.all("#views button")) == 5)
    page.press("5")
    page.until(lambda: page.asked().get("view") == "difference")
    page.press("t")
    page.until(lambda: page.asked().get("turned") == "1")
    page.press(Keys.ESCAPE)
    page.until(lambda: "r" not in page.asked())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1400])
def test_nothing_sticks_out_and_text_can_be_read_at_any_width_light_and_dark(page, width, scheme):
    page.tiles()
    size = dict(width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        page.all("#grid .pick")[0].click()
        page.until(lambda: page.all("#grid .own"))
        for window in (False, True):
            if window:
                page.all("#grid .pick")[1].click()
                page.until(lambda: len(page.all("#views button")) == 5)
            wide = page.browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0
            place = "dialog" if window else "body"
            contrasts = page.browser.execute_script(CONTRAST, place)
            assert min(contrasts.values()) >= 4.5, contrasts
            small = page.browser.execute_script(SMALL, place)
            assert not small  # what a finger has to meet
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


GIVE = """
const [bytes, event] = arguments, data = new DataTransfer();
data.items.add(new File([new Uint8Array(bytes)], "photo.png", {type: "image/png"}));
document.body.dispatchEvent(event === "drop" ? new DragEvent("drop", {dataTransfer: data, bubbles: true})
  : new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));"""
CONTRAST = """
const light = text => { const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(value => value / 255).map(
    value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const solid = element => { for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (!/, 0\\)$/.test(colour) && !/rgba\\(/.test(colour)) return colour; }
  return "rgb(255, 255, 255)"; };
const found = {};
for (const element of document.querySelectorAll(arguments[0] + " *")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility() || element.disabled || element.closest(".badge, .skip, [aria-busy]")) continue;
  const [one, other] = [light(getComputedStyle(element).color), light(solid(element))];
  found[element.tagName + "." + element.className + "#" + element.id + ": " + element.textContent.slice(0, 20)] =
    (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}
return found;"""
SMALL = """
return [...document.querySelectorAll(arguments[0] + " button, " + arguments[0] + " input:not([type=file])")].filter(
  element => element.checkVisibility()).map(element => [element.id || element.className || element.textContent,
  element.getBoundingClientRect()]).filter(([, area]) => area.width < 24 || area.height < 24).map(
  ([name, area]) => `${name} ${area.width} x ${area.height}`);"""
