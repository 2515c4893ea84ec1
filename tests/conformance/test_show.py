from onnxpack.conformance.checks import Level, Result, Verdict
from onnxpack.conformance.show import format_results, make_document

RESULTS = [
    Result("a.one", "one", Level.REQUIRED, "Server Live", Verdict.PASS, "got 200"),
    Result("a.two", "two", Level.EXTENSION, "S", Verdict.NOT_OFFERED, "the server's extensions are []"),
    Result("a.three", "three", Level.ROBUSTNESS, "S", Verdict.FAIL, "expected 4xx; got 500 " + "x" * 500),
]
TEXT = """\
pass         required    a.one    one
not offered  extension   a.two    two
    the server's extensions are []
fail         robustness  a.three  three
    expected 4xx; got 500 {}…

            pass  fail  not offered
required       1     0            0
extension      0     0            1
robustness     0     1            0"""


def test_the_table_has_a_reason_below_what_did_not_pass() -> None:
    assert format_results(RESULTS) == TEXT.format("x" * 177)


def test_the_document_has_all_results_and_what_they_come_to() -> None:
    document = make_document("http://x", "m", RESULTS)
    assert (document["url"], document["model"], document["conformant"]) == ("http://x", "m", True)
    assert document["counts"]["robustness"] == {"pass": 0, "fail": 1, "not offered": 0}
    assert document["checks"][0] == {
        "id": "a.one", "title": "one", "level": "required", "section": "Server Live", "verdict": "pass",
        "reason": "got 200",
    }  # fmt: skip
