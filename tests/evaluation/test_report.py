"""The report: one HTML file that says all there is to say, and in which names of files are only text."""

import re
from base64 import b64decode
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from matplotlib.figure import Figure

from tests.conftest import DTYPES, Doubtful, Stack, make_stack, write_imagej
from zinterp.errors import BadVolumeError, OutputError, OutputExistsError
from zinterp.evaluation.hidden_planes import Evaluation, evaluate
from zinterp.evaluation.report import Made, write_report
from zinterp.evaluation.report.curves import Curve, Diagram, draw, plain_name, thinned
from zinterp.evaluation.report.evaluation import EvaluationPart, shareable
from zinterp.evaluation.report.job import JobPart, duration, options_of
from zinterp.evaluation.report.output import OutputViews
from zinterp.evaluation.report.pictures import Cut, Shade, in_words, number, picture, scale_bar
from zinterp.evaluation.report.regions import worst_regions
from zinterp.evaluation.report.spectra import Spectra, missing_band
from zinterp.evaluation.report.table import table
from zinterp.outcome import Outcome
from zinterp.pipeline import upsample
from zinterp.volume import VoxelSize

HOSTILE = "<img src=x onerror=alert(1)>.tif"
SECTIONS = ("models", "comparison", "sections", "curves", "worst", "power", "pulsing", "provenance")


class Page(HTMLParser):
    """What a browser would find: sections, text, images, and whatever asks for something from outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    @property
    def text(self) -> str:
        """All text, words one blank apart, no-break blanks as blanks."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element."""
        values = dict(attrs)
        self.tags.append(tag)
        if tag == "section":
            self.sections.append(values["id"] or "")
        if tag == "img":
            self.images.append(values)
        self.addresses += [values[name] or "" for name in ("src", "href", "srcset", "action", "data") if name in values]
        assert not [name for name in values if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        """Take note of text."""
        self.words.append(data)


def evaluated(path: Path, stack: Stack | None = None, *, unsure: bool = True, **options: object) -> Evaluation:
    """An evaluation of a small stack, with a model that predicts deviations, or classical ones only."""
    write_imagej(path, make_stack((9, 72, 80)) if stack is None else stack)
    models = {"doubtful": Doubtful()} if unsure else {}
    return evaluate(path, models=list(models) or ["linear"], interpolators={**models}, **options)  # type: ignore[arg-type]


def page_of(path: Path, evaluation: Evaluation | None, **options: object) -> Page:
    """Write a report and look at it."""
    write_report(path, evaluation, **options)  # type: ignore[arg-type]
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave diagrams empty, which take most of the time."""

    def save(self: Figure, file: IO[bytes], **options: object) -> None:
        file.write(b"<svg xmlns='http://www.w3.org/2000/svg'/>")

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return evaluated(tmp_path_factory.mktemp("report") / "stack.tif")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A finished job with deviations and flags."""
    folder, outcomes = tmp_path_factory.mktemp("job"), list[Outcome]()
    source, sigma = folder / "stack.tif", folder / "sigma.tif"
    write_imagej(source, make_stack((5, 72, 80)))
    target = upsample(
        source, factor=4, interpolator=Doubtful(), confidence=sigma, flag_below=60.0, measured=outcomes.append
    )
    return Made(target, source, outcomes[0], 75.0, sigma)


def test_the_page_has_all_sections_and_needs_nothing(found: Evaluation, tmp_path: Path) -> None:
    page = page_of(tmp_path / "a.html", found, stack=[("Drift", "0.4 pixels"), ("Drift", "none after plane 5")])
    assert page.sections == ["stack", *SECTIONS]
    assert all(address.startswith("data:") for address in page.addresses)
    assert {"iframe", "object", "embed", "base", "form"}.isdisjoint(page.tags)
    assert page.tags.count("script") == 1
    assert page.tags.count("h1") == 1
    assert len(page.images) == 4 + 9 + 4 + 4 + 1 + 2 + 1
    for image in page.images:
        assert image["alt"]
        assert image["width"] != "0"
        assert image["height"] != "0"
    assert "on this stack, better on" in page.text
    assert "4 of 9 planes; every 2nd was kept" in page.text
    assert "20 × 8 × 8 nm (z, y, x)" in page.text
    assert "0.4 pixels none after plane 5" in page.text
    assert "doubtful" in page.text
    policy = re.search('content="(default-src[^"]*)"', (tmp_path / "a.html").read_text(encoding="utf-8"))
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")


@pytest.mark.usefixtures("undrawn")
def test_no_folder_is_given_away(found: Evaluation, made: Made, tmp_path: Path) -> None:
    moved = replace(found, scores=tuple(replace(s, model=f"/home/somebody/{s.model}") for s in found.scores))
    moved = replace(moved, predictions={f"/home/somebody/{name}": p for name, p in found.predictions.items()})
    assert [score.model for score in shareable(moved).scores] == [score.model for score in found.scores]
    write_report(tmp_path / "a.html", shareable(moved), made=made)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert str(made.source.parent) not in text
    assert "somebody" not in text


def test_models_of_one_name_stay_apart(found: Evaluation) -> None:
    first, *_ = found.predictions.values()
    names = [*found.predictions, "a/cubic"]
    twice = replace(found, predictions={name: found.predictions.get(name, first) for name in names})
    assert list(shareable(twice).predictions)[-1] == "cubic (4)"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", [HOSTILE, "$x^2$ _a{{ 7 * 7 }}.tif", "\u202e&amp;\u4e2d\udcff\x01.tif"])
def test_names_are_only_text(name: str, tmp_path: Path) -> None:
    try:
        (tmp_path / name).touch()
    except (OSError, UnicodeError, ValueError):
        pytest.skip("this system has no such file names")
    models = {'_"><svg onload=alert(2)>$a_$': Doubtful()}
    write_imagej(tmp_path / name, make_stack((5, 40, 48)))
    found = evaluate(tmp_path / name, models=list(models), interpolators={**models})
    page = page_of(tmp_path / "a.html", found, stack=[("<b>Label</b>", "<script>alert(3)</script>")])
    shown = "".join("\ufffd" if "\ud800" <= c <= "\udfff" or c < " " else c for c in name)
    assert "".join(page.words).count(shown) >= 3
    assert page.tags.count("script") == 1
    assert "svg" not in page.tags
    assert "<script>alert(3)</script>" in page.text
    assert escape("<b>Label</b>") in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("dtype", [*DTYPES, "int8", "uint32"])
def test_every_kind_of_grey_value_is_drawn(dtype: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", make_stack((5, 40, 48), dtype), photometric="minisblack")
    found = evaluate(tmp_path / "a.tif", models=["doubtful"], interpolators={"doubtful": Doubtful()})
    page = page_of(tmp_path / "a.html", found)
    assert "The voxel size is not known: voxels are drawn as cubes." in page.text
    assert "cycles per voxel" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert found.info.voxel_size == VoxelSize()


@pytest.mark.usefixtures("undrawn")
def test_classical_models_alone_have_no_deviations(tmp_path: Path) -> None:
    found = evaluated(tmp_path / "a.tif", make_stack((5, 70, 48)), unsure=False)
    page = page_of(tmp_path / "a.html", found)
    assert "Classical interpolation" in page.text
    assert "the model predicts none" in page.text
    assert "predicted σ" not in page.text
    assert EvaluationPart(found).sign[0] == "plain"


def test_a_single_hidden_plane_is_enough(tmp_path: Path) -> None:
    page = page_of(tmp_path / "a.html", evaluated(tmp_path / "a.tif", make_stack((3, 40, 48))))
    assert "1 of 3 planes" in page.text
    assert "too few planes for a spectrum along z" in page.text


@pytest.mark.usefixtures("undrawn")
def test_planes_of_one_pixel_are_drawn(tmp_path: Path) -> None:
    found = evaluated(tmp_path / "a.tif", make_stack((5, 20, 20)))
    thin = replace(found.truth, planes=found.truth.planes[:, :1, :1], threshold=None, morphology=None)
    small = replace(found, truth=thin, window=replace(found.window, rows=range(1), cols=range(1)))
    cut = {name: replace(p, planes=p.planes[:, :1, :1], sigma=None) for name, p in found.predictions.items()}
    assert page_of(tmp_path / "a.html", replace(small, predictions=cut)).sections


@pytest.mark.usefixtures("undrawn")
def test_without_a_threshold_nothing_is_measured_at_one(found: Evaluation, tmp_path: Path) -> None:
    plain = replace(
        found,
        truth=replace(found.truth, threshold=None, morphology=None),
        scores=tuple(replace(score, morphology=None, resolution_px=None, resolution_um=None) for score in found.scores),
    )
    page = page_of(tmp_path / "a.html", plain)
    assert "No threshold parts this window in two" in page.text
    assert "none agrees" in page.text


@pytest.mark.usefixtures("undrawn")
def test_the_verdict_is_not_told_by_colour_alone(found: Evaluation, tmp_path: Path) -> None:
    better = replace(
        found.score("doubtful"),
        psnr_db=99.0,
        planes=tuple(replace(plane, psnr_db=99.0) for plane in found.score("doubtful").planes),
    )
    others = tuple(score for score in found.scores if score.model != "doubtful")
    for best, words in ((better, ("✓", "A gain")), (replace(better, psnr_db=1.0), ("✗", "No gain", "use --model"))):
        evaluation = replace(found, scores=(best, *others))
        page = page_of(tmp_path / "a.html", evaluation, overwrite=True)
        assert all(word in page.text for word in words)


def test_the_best_of_each_column_is_marked(found: Evaluation) -> None:
    psnr = [row.cells[0] for row in table(found.scores, found.truth)]
    assert [cell.best for cell in psnr].count(True) >= 1
    assert psnr[0].best
    alike = tuple(replace(found.scores[0], model=name) for name in ("linear", "cubic"))
    assert not any(cell.best for row in table(alike, found.truth) for cell in row.cells)


def test_the_worst_squares_are_found(found: Evaluation) -> None:
    truth = replace(found.truth, planes=np.zeros((9, 136, 150), np.uint8))
    made = truth.planes.copy()
    made[3, 5:9, 20:24] = 90
    made[5, 5:9, 20:24] = 80
    made[5, 130:134, 144:148] = 60
    regions = worst_regions(truth, made, None)
    assert [region.index for region in regions[:2]] == [3, 5]
    assert len(regions) == 4
    assert regions[0].rows.start <= 5
    assert regions[1].rows.stop == 136
    assert regions[1].cols.stop == 150
    assert regions[0].sigma is None
    assert 0 < regions[1].error < regions[0].error


def test_power_tells_a_smooth_axis() -> None:
    noise = np.random.default_rng(0).normal(size=(32, 64, 64))
    smooth = (noise + np.roll(noise, 1, axis=0)) / 2
    for size in (VoxelSize(0.01, 0.01, 0.01), VoxelSize()):
        band = missing_band(size, 2)
        assert Spectra.of(noise, size).anisotropy(*band) == pytest.approx(1, rel=0.05)
        assert 0 < (Spectra.of(smooth, size).anisotropy(*band) or 0) < 0.6
    assert Spectra.of(noise, VoxelSize(0.001, 0.01, 0.01)).anisotropy(50.0, 500.0) is None


def test_cuts_show_planes_as_far_apart_as_they_are() -> None:
    thick = Cut.along("XZ", (31, 192, 256), VoxelSize(0.04, 0.004, 0.004))
    assert thick.aspect == pytest.approx(10)
    assert (len(thick.planes), len(thick.line), thick.at) == (31, 256, 96)
    flat = Cut.along("YZ", (33, 200, 300), VoxelSize())
    assert (len(flat.planes), len(flat.line), flat.at) == (33, 99, 150)
    huge = Cut.along("XZ", (5000, 4000, 6000), VoxelSize(0.01, 0.01, 0.01))
    assert (len(huge.planes), len(huge.line), huge.planes.start) == (129, 387, 2435)
    volume = make_stack((33, 200, 300))
    assert np.array_equal(flat.of(volume), np.stack([flat.of_plane(plane) for plane in volume]))
    drawn = picture(np.zeros((31, 256), np.uint8), "", aspect=10.0, coarse=True)
    assert drawn.height / drawn.width == pytest.approx(310 / 256, rel=0.01)


def test_grey_values_are_those_of_the_truth(found: Evaluation) -> None:
    part = EvaluationPart(found)
    assert part.views.shade.white - part.views.shade.black == pytest.approx(found.truth.data_range)
    assert str(Shade(-2.0, 4095.0)) == "−2 (black) to 4095 (white)"


def test_lengths_are_round_and_in_units_that_suit() -> None:
    bar = scale_bar(250, 0.01)
    assert bar is not None
    assert (bar.percent, bar.label) == (20.0, "500\u00a0nm")
    assert scale_bar(250, None) is None
    assert [in_words(x) for x in (1e-4, 0.0315, 1.0, 141.1, 2000.0)] == [
        *("100\u00a0pm", "31.5\u00a0nm", "1\u00a0µm", "141\u00a0µm", "2\u00a0mm"),
    ]
    assert [number(x) for x in (-0.1234, 12345.6, 1e9)] == ["−0.123", "12346", "1e+09"]
    assert [duration(x) for x in (2.34, 75, 4000)] == ["2.34 s", "1 min", "1 h 07 min"]


def test_names_in_figures_can_be_drawn() -> None:
    names = ('_"--><svg onload="alert(2)"/>$a_$', "$\\frac{$", "\u4e2d\n")
    drawn = draw([Diagram("y", [Curve(name, [1, 2], [3, 4], i) for i, name in enumerate(names)], "x")], "alt")
    elements = [*ElementTree.fromstring(b64decode(drawn.uri.partition(",")[2])).iter()]
    assert len([element for element in elements if element.tag.endswith("}svg")]) == 1
    assert not [element for element in elements if "onload" in element.attrib]
    assert plain_name("_tuned") == " _tuned"
    assert plain_name("\u4e2d\ud800\n") == "???"
    assert len(plain_name("x" * 99)) == 26
    assert thinned(5, 9) == [0, 1, 2, 3, 4]
    assert thinned(1000, 3) == [0, 500, 999]
    assert thinned(0, 3) == []


@pytest.mark.usefixtures("undrawn")
def test_a_job_is_shown_with_its_evaluation(found: Evaluation, made: Made, tmp_path: Path) -> None:
    page = page_of(tmp_path / "a.html", found, made=made)
    assert page.sections == ["output", "output-planes", *SECTIONS]
    for words in (
        "stack_x4.tif: 17 planes of 80 × 72 pixels",
        "5 acquired, bit for bit; 12 synthesised",
        "20 × 8 × 8 nm before, 5 × 8 × 8 nm now (z, y, x)",
        "12 planes have a predicted PSNR below 60 dB",
        "Predicted deviation by plane",
        "linear interpolation",
        "Intensity range",
    ):
        assert words in page.text


@pytest.mark.usefixtures("undrawn")
def test_a_job_too_thin_to_hide_planes_says_so(made: Made, tmp_path: Path) -> None:
    reason = "there are <2> planes"
    page = page_of(tmp_path / "a.html", None, made=replace(made, confidence=None), unmeasured=reason)
    assert "could not be measured: there are <2> planes." in page.text
    assert page.sections == ["output", "output-planes", "provenance"]


def test_the_output_is_drawn_as_it_is(made: Made) -> None:
    found = OutputViews(made).middle
    output, source = tifffile.imread(made.target), make_stack((5, 72, 80))
    assert (found.plane, found.xz.shape[0]) == (7, 17)
    assert np.array_equal(found.xy, output[7])
    cut, other = OutputViews(made).cuts
    assert np.array_equal(found.xz, cut.of(output))
    assert np.array_equal(found.yz, other.of(output))
    assert np.array_equal(found.xz[::4], found.repeated[::4])
    assert np.array_equal(found.repeated[[1, 2, 3]], cut.of(source[[0, 0, 1]]))
    assert found.sigma is not None
    assert np.array_equal(found.sigma, tifffile.imread(made.confidence or "")[7])


def test_a_long_stack_is_thinned_and_looked_at_close_up(made: Made) -> None:
    row, *others = made.outcome.measures[0][:4]
    long = replace(made, outcome=Outcome(made.outcome.job, ((row, *others) * 300,)))
    charts = JobPart(long).charts
    assert [chart.title for chart in charts][1].startswith("Planes ")
    assert max(len(chart.picture.uri) for chart in charts) < 400_000


def test_options_are_told_without_what_was_not_used(made: Made) -> None:
    options = dict(options_of(made.outcome.job))
    assert options["Source shape"] == "5, 72, 80"
    assert "Grain seed" not in options
    assert "Positions" not in options


def test_a_source_that_changed_is_an_error(made: Made, tmp_path: Path) -> None:
    write_imagej(tmp_path / "stack.tif", make_stack((4, 72, 80)))
    with pytest.raises(BadVolumeError, match="changed since"):
        write_report(tmp_path / "a.html", None, made=replace(made, source=tmp_path / "stack.tif"))


@pytest.mark.usefixtures("undrawn")
def test_a_large_window_stays_small(tmp_path: Path) -> None:
    found = evaluated(tmp_path / "a.tif", make_stack((65, 24, 24)))
    noise = np.random.default_rng(0).integers(0, 256, (65, 512, 512), np.uint8)
    window = replace(found.window, rows=range(512), cols=range(512))
    made = {
        name: replace(p, planes=np.roll(noise, i, axis=1), sigma=None if p.sigma is None else noise.astype(np.float32))
        for i, (name, p) in enumerate(found.predictions.items())
    }
    large = replace(found, truth=replace(found.truth, planes=noise), window=window, predictions=made)
    write_report(tmp_path / "a.html", large)
    figures = 12 * 100_000  # bytes, more than they have
    assert 1e6 < (tmp_path / "a.html").stat().st_size < 5e6 - figures


def test_a_report_is_replaced_only_if_told(found: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_report(path, None)
    assert path.read_text() == "mine"
    write_report(path, None, overwrite=True)
    assert "Not measured" in path.read_text(encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write the report"):
        write_report(tmp_path / "missing" / "a.html", None)
