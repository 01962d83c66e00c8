"""The report in a real browser, headless Chromium: it renders, the slider moves, and nothing is fetched."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Doubtful, make_stack, write_imagej
from zinterp.evaluation.hidden_planes import evaluate
from zinterp.evaluation.report import Made, write_report
from zinterp.outcome import Outcome
from zinterp.pipeline import upsample

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None, reason="no chromium and chromedriver on this machine"
)
SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
HOSTILE = "<img src=x onerror=alert(1)>.tif"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on a job and an evaluation, whose names try to be more than text."""
    folder, outcomes = tmp_path_factory.mktemp("browser"), list[Outcome]()
    source = folder / HOSTILE
    write_imagej(source, make_stack((9, 72, 80)))
    target = upsample(source, folder / "dense.tif", factor=2, interpolator=Doubtful(), measured=outcomes.append)
    models = {'"><svg onload=alert(3)>': Doubtful()}
    found = evaluate(source, models=list(models), interpolators={**models})
    made = Made(target, source, outcomes[0], 1.0, None)
    write_report(folder / "report.html", found, made=made, stack=[("<b>Label</b>", "<script>alert(4)</script>")])
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1200,900"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=CHROMEDRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, report: Path) -> Any:
    """The report, opened afresh on a wide screen."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(report.as_uri())
    return browser


def test_it_renders_without_a_complaint(page: Any) -> None:
    images = page.execute_script(
        "return [...document.images].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight])"
    )
    assert len(images) == 25 + 7
    assert all(min(sizes) > 0 for sizes in images)
    assert page.get_log("browser") == []
    assert page.title.startswith(HOSTILE)


def test_nothing_is_fetched(page: Any, report: Path) -> None:
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked[0] == page.current_url
    assert all(url.startswith("data:") for url in asked[1:])
    assert (
        page.execute_script("return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:'))")
        == []
    )


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_slider_moves_by_key_and_by_hand(page: Any, number: int) -> None:
    stage = page.find_elements(By.CSS_SELECTOR, ".stage")[number]
    after, slider = (
        stage.find_element(By.CSS_SELECTOR, ".after"),
        page.find_element(By.ID, stage.get_attribute("data-range")),
    )
    assert page.execute_script("return document.querySelector(`label[for='${arguments[0].id}']`)", slider) is not None
    seen = [after.value_of_css_property("clip-path")]
    assert seen == ["inset(0px 0px 0px 50%)"]
    slider.send_keys(Keys.ARROW_RIGHT * 5)
    seen.append(after.value_of_css_property("clip-path"))
    slider.send_keys(Keys.HOME)
    seen.append(after.value_of_css_property("clip-path"))
    assert seen[1:] == ["inset(0px 0px 0px 55%)", "inset(0px 0px 0px 0%)"]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    webdriver.ActionChains(page).move_to_element(stage).click_and_hold().move_by_offset(
        stage.size["width"] // 4, 0
    ).release().perform()
    assert 70 <= int(slider.get_attribute("value")) <= 80
    assert after.value_of_css_property("clip-path") == f"inset(0px 0px 0px {slider.get_attribute('value')}%)"


def test_names_are_only_text(page: Any) -> None:
    assert page.find_element(By.TAG_NAME, "h1").text == HOSTILE
    assert (
        page.execute_script("return document.querySelectorAll('svg, img[onerror], [onload], b > script').length") == 0
    )
    assert len(page.find_elements(By.TAG_NAME, "script")) == 1
    assert '"><svg onload=alert(3)>' in page.find_element(By.ID, "models").text
    assert "<script>alert(4)</script>" in page.find_element(By.ID, "stack").text


def test_a_script_that_got_in_would_not_run(page: Any) -> None:
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    assert page.execute_script("return window.ran") is None


def test_a_phone_does_not_scroll_sideways(page: Any) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 375, "height": 812, "deviceScaleFactor": 2, "mobile": True}
    )
    assert page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]") == [375, 375]
    boxes = page.execute_script(
        "return [...document.querySelectorAll('.scroll')].map(b => b.scrollWidth > b.clientWidth)"
    )
    assert any(boxes)


def test_in_print_both_pictures_stand_side_by_side(page: Any) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        before, after = page.find_elements(By.CSS_SELECTOR, ".stage .side")[:2]
        assert after.value_of_css_property("clip-path") == "none"
        assert before.location["y"] == after.location["y"]
        assert before.location["x"] + before.size["width"] <= after.location["x"]
        assert not page.find_element(By.CSS_SELECTOR, "input[type=range]").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
