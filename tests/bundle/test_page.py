"""The page that a server shows: what is in it, and what a browser makes of it."""

import base64
import hashlib
import html
import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser, browsing
from bundle_examples import IRIS, MODULES, save_model
from bundle_examples import write_app as write_example
from onnx import helper
from PIL import Image
from serving import Server, serving

from onnxpack.bundle.render import ModuleView, render_module
from onnxpack.core.values import Axis, TensorInfo

HOSTILE = "</textarea></script><script>document.title='bad'</script>\"'&{{ 7 * 7 }}<img src=x onerror=alert(1)>\\"
LARGE = TensorInfo("picture", "float32", ("batch", 3, 32, 32))


class Elements(HTMLParser):
    """The elements of a page, by tag, and the text of those that hold text alone."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data


def show(view: ModuleView) -> str:
    return render_module(view)["page.html"]


def with_names(view: ModuleView, text: str) -> ModuleView:
    inputs = tuple(replace(info, name=f"{text}{number}") for number, info in enumerate(view.inputs))
    outputs = tuple(replace(info, name=f"{text}{number}") for number, info in enumerate(view.outputs))
    return replace(view, description=f"{text}\n\n{text}", inputs=inputs, outputs=outputs)


@pytest.mark.parametrize("model", ["iris", "transactions", "odd"])
def test_a_page_is_small_and_asks_nobody_else(model: str) -> None:
    page = show(MODULES[model])
    assert len(page.encode()) < (22_000 if model == "iris" else 15_000)
    links = [
        value for _, attributes in Elements(page).attributes for name, value in attributes.items() if name == "href"
    ]
    assert links == [f"/v2/models/{model}", "/openapi.json", "/metrics"]
    for word in ("src=", r"url\(", "@import", "//", r" on\w+=", "style="):
        # The one address is that of the command, which the script then corrects.
        assert re.findall(word, re.sub(r"http://localhost:\d+|// .*", "", page)) == []


def test_the_policy_lets_only_this_style_and_script_in() -> None:
    files = render_module(IRIS)
    texts = Elements(files["page.html"]).texts
    for kind in ("script", "style"):
        (text,) = texts[kind]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'; " in files["routes.py"]
    assert "unsafe" not in files["routes.py"]
    assert "default-src 'none'; " in files["routes.py"]


def test_names_and_descriptions_stay_text() -> None:
    plain, hostile = (Elements(show(with_names(IRIS, text))) for text in ("x", HOSTILE))
    assert [(tag, {**attributes, "name": ""}) for tag, attributes in hostile.attributes] == [
        (tag, {**attributes, "name": ""}) for tag, attributes in plain.attributes
    ]
    names = [attributes["name"] for tag, attributes in hostile.attributes if tag == "input"]
    assert names == [f"{HOSTILE}0{column}" for column in range(4)]
    assert hostile.texts["script"] == plain.texts["script"]
    *_, example = hostile.texts["textarea"]
    assert json.loads(example)["inputs"][0]["name"] == f"{HOSTILE}0"
    assert hostile.texts["p"][:2] == [HOSTILE, HOSTILE]
    named = Elements(show(replace(IRIS, name=HOSTILE)))
    assert named.texts["title"] == [f"{HOSTILE} 1.0.0"]
    assert "<" not in str(named.attributes)


def test_a_large_request_is_not_shown_but_how_to_send_it() -> None:
    page = show(replace(IRIS, inputs=(LARGE,)))
    elements = Elements(page)
    assert elements.texts["textarea"] == [""]
    assert "too large" in str(elements.attributes)
    text = html.unescape(page)
    assert 'http.InferInput("picture", [1, 3, 32, 32], "FP32")' in text
    assert len(page.encode()) < 12_000
    assert "InferInput" not in show(IRIS)


def get(server: Server, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def test_the_server_gives_the_page_and_no_icon(apps: dict[str, Path]) -> None:
    with serving(apps["iris"]) as server:
        status, headers, body = get(server, "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert body.decode() == show(IRIS)
        assert get(server, "/", "HEAD") == (200, headers, b"")
        assert get(server, "/?x=1")[2] == body
        status, headers, body = get(server, "/favicon.ico")
        assert (status, headers, body) == (204, {}, b"")


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def write_app(folder: Path, view: ModuleView) -> Path:
    """Write a server of a model that gives its only input back."""
    nodes = [helper.make_node("Identity", [view.inputs[0].name], [view.outputs[0].name])]
    save_model(folder / "model.onnx", nodes, view, [])
    for name, text in render_module(view).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def read_text(browser: Browser, name: str) -> str:
    text: str = browser.evaluate(f"document.getElementById('{name}').textContent")
    return text


def send(browser: Browser, act: Callable[[], object]) -> str:
    """Do what sends the request, and return the answer that the page then shows."""
    browser.evaluate("document.getElementById('status').textContent = ''")
    act()
    browser.wait("document.getElementById('status').textContent !== ''")
    return read_text(browser, "answer")


@needs_browser
@pytest.mark.parametrize("model", ["iris", "transactions", "odd"])
def test_send_shows_the_answer_of_the_server(model: str, browser: Browser, apps: dict[str, Path]) -> None:
    browser.complaints.clear()
    with serving(apps[model]) as server:
        browser.open(f"http://127.0.0.1:{server.port}/")
        request = browser.evaluate("document.getElementById('request').value")
        status, expected = server.ask("POST", f"/v2/models/{model}/infer", request.encode())
        shown = send(browser, lambda: browser.evaluate("document.querySelector('#form button').click()"))
        assert (status, json.loads(shown)) == (200, expected)
        assert re.fullmatch(r"200 OK · \d+\.\d ms", read_text(browser, "status"))
        browser.evaluate("document.getElementById('request').focus()")
        shown = send(browser, lambda: browser.press("Enter", 13, modifiers=2))
        assert json.loads(shown) == expected
        assert browser.complaints == []
        browser.evaluate("document.getElementById('request').value = '{}'")
        shown = send(browser, lambda: browser.evaluate("document.querySelector('#form button').click()"))
        assert json.loads(shown) == {"error": "'inputs' must be a list of objects"}
        assert read_text(browser, "status").startswith("400 Bad Request")
    send(browser, lambda: browser.evaluate("document.querySelector('#form button').click()"))
    assert read_text(browser, "status").startswith("no answer: ")


@needs_browser
def test_all_can_be_done_by_keyboard(browser: Browser, apps: dict[str, Path]) -> None:
    with serving(apps["iris"]) as server:
        browser.open(f"http://127.0.0.1:{server.port}/")
        found = []
        for _ in range(16):
            browser.press("Tab", 9)
            active = browser.evaluate("document.activeElement.id || document.activeElement.textContent")
            found.append(active)
        fields = ["f1", "f2", "f3", "f4", "Several rows", "Ask", "As JSON", "told"]
        assert found == [*fields, "request", "Send", "answer", "copy", "curl", "model", "OpenAPI", "metrics"]


@needs_browser
@pytest.mark.skipif(not shutil.which("curl"), reason="no curl is installed")
def test_the_command_does_the_same_in_a_shell(browser: Browser, apps: dict[str, Path]) -> None:
    with serving(apps["odd"]) as server:
        browser.open(f"http://127.0.0.1:{server.port}/")
        document = json.loads(browser.evaluate("document.getElementById('request').value"))
        document["inputs"][0] |= {"shape": [3, 1], "data": ["it's $HOME `id` \\ !", '@x\n\t\u2028"', "<é>"]}
        text = json.dumps(document, ensure_ascii=False, indent=3)
        browser.evaluate(f"request.value = {json.dumps(text)}; request.dispatchEvent(new Event('input'))")
        command = read_text(browser, "curl")
        assert f"'http://127.0.0.1:{server.port}/v2/models/odd/infer'" in command
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
        assert json.loads(done.stdout)["outputs"][0]["data"] == document["inputs"][0]["data"], done.stderr
        browser.evaluate("document.getElementById('copy').click()")
        browser.wait("document.getElementById('copy').textContent === 'Copied'")


@needs_browser
def test_large_whole_numbers_pass_unchanged(browser: Browser, tmp_path: Path) -> None:
    axes = (Axis("batch", 1, 1, 4),)
    inputs, outputs = ((TensorInfo(name, "int64", ("batch",)),) for name in ("x", "y"))
    app = write_app(tmp_path, replace(IRIS, inputs=inputs, outputs=outputs, axes=axes, values={"x": (2**53 + 1,)}))
    with serving(app) as server:
        browser.open(f"http://127.0.0.1:{server.port}/")
        shown = send(browser, lambda: browser.evaluate("document.querySelector('#form button').click()"))
        assert '"data": [9007199254740993]' in shown
        assert '"data":[9007199254740993]' in read_text(browser, "curl")


@needs_browser
def test_hostile_names_do_nothing_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    inputs, outputs = ((TensorInfo(f"{name}{HOSTILE * 3}", "float32", ("batch", 2)),) for name in "xy")
    view = replace(IRIS, version=HOSTILE, description=HOSTILE * 20, inputs=inputs, outputs=outputs)
    browser.complaints.clear()
    with serving(write_app(tmp_path, view)) as server:
        browser.open(f"http://127.0.0.1:{server.port}/", width=375)
        shown = send(browser, lambda: browser.evaluate("document.querySelector('#form button').click()"))
        assert json.loads(shown)["outputs"][0]["name"] == outputs[0].name
        assert browser.evaluate("document.title") == f"iris {HOSTILE}"
        assert browser.evaluate("document.querySelectorAll('img, script').length") == 1
        assert browser.evaluate("document.documentElement.scrollWidth") == 375
    assert browser.complaints == []


@needs_browser
@pytest.mark.parametrize("width", [320, 375, 800, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_its_window(width: int, dark: bool, browser: Browser, apps: dict[str, Path]) -> None:
    with serving(apps["odd"]) as server:
        browser.open(f"http://127.0.0.1:{server.port}/", width=width, dark=dark)
        send(browser, lambda: browser.evaluate("document.querySelector('#form button').click()"))
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        color: Any = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(color[4:].split(",")[0]) < 128) is dark


@needs_browser
def test_a_policy_that_is_broken_is_noticed(browser: Browser, apps: dict[str, Path]) -> None:
    browser.complaints.clear()
    change = "import routes\npage = routes.ROUTES['/'].answer\n"
    change += "body = page.body.replace(b'showCommand();', b'showCommand() ;')\n"
    change += "routes.ROUTES['/'] = routes.Route(routes.GET, page._replace(body=body))"
    with serving(apps["iris"], change) as server:
        browser.open(f"http://127.0.0.1:{server.port}/")
        browser.wait("document.readyState === 'complete'")
    assert "Content Security Policy" in str(browser.complaints)


# The form by which people ask.


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Servers of models of which people have what they take."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("pictures", "sentence", "declared")}
    for name, folder in folders.items():
        values = {"city": ("Lima",), "joined": (19000,)} if name == "declared" else {}
        write_example(folder, name, server="http", values=values)
    with (
        serving(folders["pictures"]) as pictures,
        serving(folders["sentence"]) as sentence,
        serving(folders["declared"]) as declared,
    ):
        yield {"pictures": pictures, "sentence": sentence, "declared": declared}


def ask(browser: Browser, act: str) -> str:
    """Do what asks, in JavaScript, and return what the page then shows."""
    browser.evaluate("document.getElementById('asked').textContent = ''")
    browser.evaluate(act)
    browser.wait("document.getElementById('asked').textContent !== ''")
    text: str = browser.evaluate("document.getElementById('answers').innerText")
    return text


CLICK = "document.querySelector('#ask [type=submit]').click()"


@needs_browser
def test_a_picture_is_dropped_or_chosen_and_shown(browser: Browser, asked: dict[str, Server], tmp_path: Path) -> None:
    browser.complaints.clear()
    browser.open(f"http://127.0.0.1:{asked['pictures'].port}/")
    assert ask(browser, CLICK) == ""
    assert read_text(browser, "asked") == "no answer: choose a picture first"
    picture = tmp_path / "it's 3.png"
    Image.new("RGB", (40, 30), (200, 10, 0)).save(picture)
    document = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    browser.evaluate("document.getElementById('asked').textContent = ''")
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(picture)])
    browser.wait("document.getElementById('asked').textContent !== ''")
    assert browser.evaluate("document.getElementById('answers').innerText").split() == ["colour", "[200,10,0]"]
    browser.wait("document.getElementById('preview').naturalWidth === 40")
    assert "--data-binary '@it'\\''s 3.png'" in read_text(browser, "told")
    assert read_text(browser, "exact").split() == ["{", '"colour":', "[", "200.0,", "10.0,", "0.0", "]", "}"]
    shown = ask(
        browser,
        """{
        const transfer = new DataTransfer();
        transfer.items.add(new File(["no picture"], "x.png", {type: "image/png"}));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: transfer}));
        }""",
    )
    assert "input 'image', picture" in shown
    assert read_text(browser, "asked").startswith("400 Bad Request")
    assert all("400" in complaint for complaint in browser.complaints), browser.complaints


@needs_browser
def test_a_text_is_typed_and_its_answer_shown_in_bars(browser: Browser, asked: dict[str, Server]) -> None:
    browser.complaints.clear()
    browser.open(f"http://127.0.0.1:{asked['sentence'].port}/")
    shown = ask(browser, f"document.getElementById('text').value = 'c \"c\" a'; {CLICK}")
    assert shown.split() == ["label", "good", "scores", "good", "2", "bad", "1", "so", '"so"', "0"]
    widths = browser.evaluate("[...document.querySelectorAll('.bars i')].map((bar) => bar.style.width)")
    assert widths == ["100%", "50%", "0%"]
    hostile = "<img src=x onerror=document.title='bad'>"
    browser.evaluate(f"showAnswers(JSON.stringify({{{json.dumps(hostile)}: {json.dumps(hostile)}}}), true)")
    assert browser.evaluate("document.querySelectorAll('#answers img').length") == 0
    browser.evaluate("showAnswers('<html>', false)")
    assert browser.evaluate("document.getElementById('answers').innerText") == "<html>"
    assert browser.complaints == []


@needs_browser
def test_a_record_is_filled_in_and_rows_are_pasted(browser: Browser, asked: dict[str, Server]) -> None:
    browser.open(f"http://127.0.0.1:{asked['declared'].port}/", width=375, dark=True)
    assert browser.evaluate("[...document.querySelectorAll('.fields [data-kind]')].map((field) => field.type)") == [
        "number", "number", "select-one", "textarea", "date", "datetime-local",
    ]  # fmt: skip
    values = {
        "f1": "",
        "f2": "9007199254740993",
        "f3": "Oslo",
        "f4": "it's",
        "f5": "2024-02-29",
        "f6": "2024-02-29T12:00",
    }
    for name, value in values.items():
        browser.evaluate(
            f"document.getElementById('{name}').value = {json.dumps(value)}; ask.dispatchEvent(new Event('input'))"
        )
    shown = ask(browser, CLICK)
    assert shown.split()[0] == "total"
    assert shown.split()[-2:] == ["place", "Oslo"]
    browser.wait("document.getElementById('told').textContent.includes('T12:00')")
    body = '{"age": null, "visits": 9007199254740993, "city": "Oslo", "note": "it\'s", '
    body += '"joined": "2024-02-29", "seen": "2024-02-29T12:00"}'
    assert body.replace("'", "'\\''") in read_text(browser, "told")
    done = subprocess.run(["sh", "-c", read_text(browser, "told")], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["place"] == "Oslo", done.stderr
    lines = "city,joined\nLima,2024-01-01\nOslo,2024-01-02\n"
    shown = ask(browser, f"document.getElementById('rows').value = {json.dumps(lines)}; {CLICK}")
    assert [word for word in shown.split() if word in ("Lima", "Oslo")] == ["Lima", "Oslo"]
    assert browser.evaluate("document.documentElement.scrollWidth") == 375


@needs_browser
@pytest.mark.parametrize("model", ["pictures", "sentence", "declared"])
def test_what_people_ask_with_can_be_reached_by_keyboard(
    model: str, browser: Browser, asked: dict[str, Server]
) -> None:
    browser.open(f"http://127.0.0.1:{asked[model].port}/")
    browser.press("Tab", 9)
    first = {"pictures": "file", "sentence": "text", "declared": "f1"}[model]
    assert browser.evaluate("document.activeElement.id") == first
    unnamed = (
        "[...document.querySelectorAll('#ask input, #ask select, #ask textarea')].filter((one) => !one.labels.length)"
    )
    assert browser.evaluate(f"{unnamed}.length") == 0
    if model == "sentence":
        browser.evaluate("document.getElementById('asked').textContent = ''")
        browser.press("Enter", 13, modifiers=2)
        browser.wait("document.getElementById('asked').textContent.startsWith('200')")
