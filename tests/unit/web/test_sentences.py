import pytest

from backend.web.languages.catalogue import catalogue
from backend.web.languages.sentences import MAX_CHARACTERS, Sentences

KOREAN = {
    "There is no experiment {0}.": "실험 {0}이(가) 없습니다.",
    "{0} has no attempt {1}; its last one is {2}.": "{0}의 마지막은 {2}번이며 {1}번은 없습니다.",
    "must be {0}; you sent {1}.": "허용되는 값: {0}. 보낸 값: {1}.",
    "must be text; you sent {0}.": "텍스트여야 합니다. 보낸 값: {0}.",
    "{0} above {1} and at most {2}": "{1} 초과 {2} 이하인 {0}",
    "{0}, such as {1}": "{0}(예: {1})",
    "{0} or {1}": "{0} 또는 {1}",
    "a number": "숫자",
    "The node evicted the experiment: {0}": "노드가 실험을 축출했습니다: {0}",
    'must be a range such as {{"low": 1}}; you sent {0}.': '{{"low": 1}} 같은 범위. 보낸 값: {0}.',
    "Nothing was changed.": "아무것도 바꾸지 않았습니다.",
    "{error} Send it again.": "{error} 다시 보내세요.",
}


@pytest.fixture(scope="module")
def translated():
    return Sentences(KOREAN).translated


@pytest.mark.parametrize(
    ("english", "korean"),
    [
        ("There is no experiment 'run 1'.", "실험 'run 1'이(가) 없습니다."),
        ("'a' has no attempt 3; its last one is 2.", "'a'의 마지막은 2번이며 3번은 없습니다."),
        ("must be text; you sent 5.", "텍스트여야 합니다. 보낸 값: 5."),
        (
            "must be a number above 0 and at most 10, such as 0.1; you sent 'x'.",
            "허용되는 값: 0 초과 10 이하인 숫자(예: 0.1). 보낸 값: 'x'.",
        ),
        ('must be a range such as {"low": 1}; you sent 2.', '{"low": 1} 같은 범위. 보낸 값: 2.'),
        ("Nothing was changed.", "아무것도 바꾸지 않았습니다."),
        ("Nothing was changed. Send it again.", "아무것도 바꾸지 않았습니다. 다시 보내세요."),
        ("Nothing was changed. Unknown words.", "아무것도 바꾸지 않았습니다. Unknown words."),
        ("Some other sentence.", "Some other sentence."),
        ("", ""),
    ],
)
def test_sentences(translated, english, korean):
    assert translated(english) == korean


def test_foreign_message_stays_as_it_is(translated):
    foreign = "0/1 nodes are available: 1 node had cpu or memory pressure."

    assert translated(f"The node evicted the experiment: {foreign}") == (
        f"노드가 실험을 축출했습니다: {foreign}"
    )


@pytest.mark.parametrize("value", ["{0}", "{missing}", "%(name)s", "{", "}{", "{0.__class__}"])
def test_values_are_not_formats(translated, value):
    assert translated(f"There is no experiment {value}.") == f"실험 {value}이(가) 없습니다."


def test_ambiguous_text_is_matched_in_linear_time(translated):
    hostile = " has no attempt ; its last one is" * (MAX_CHARACTERS // 40)

    assert hostile in translated(f"There is no experiment {hostile}.")
    assert translated("x" * (MAX_CHARACTERS + 1)) == "x" * (MAX_CHARACTERS + 1)


@pytest.mark.parametrize(
    "sentence",
    [
        "val_loss has not improved since epoch 1: it was 2.7, and 4.7 at epoch 20.",
        "val_loss has hardly improved since epoch 1: it was 2.7, and 2.6 at best (epoch 3).",
        "loss is not a finite number in any epoch: use a lower learning rate.",
        "At epoch 9, loss was 0.5 at best; at most 0.3 was needed to be as good as the best 2 of "
        "the 6 trials that reached it.",
        "dataset stands for every file of the input folder that cannot be used: mixed shapes: a "
        "sample of 'a' is 3, one of 'b' is 4. Choose with dataset: send the name of one file, or "
        "of several that fit together (GET /inputs lists them).",
        "'x.csv' cannot be a data set: it is empty.",
        "could not convert string '1,2' to a number, as it has a decimal comma; save it as CSV "
        "UTF-8, with commas between the cells and points in the numbers: line 3, column 2",
        "The trainer exited with code 137: it printed nothing",
        "It was killed, which happens most often because memory ran out: train on less data, or "
        "make more memory available. Read its log: '1'.",
        "Apply the objects of yaml/setup/3_crb.yaml with the namespace ml in place of default. The "
        "experiment then starts by itself.",
        "must not begin with '.'; you sent '.a'.",
        "must not contain '/' or '\\': it names one folder; you sent 'a/b'.",
        "field larger than field limit (131072): line 3",
        "The Kubernetes API server does not answer. Nothing was changed. Send the same again.",
    ],
)
def test_composed_sentences_of_the_program(sentence):
    korean = catalogue("ko").sentences.translated(sentence)

    assert any("가" <= character <= "힣" for character in korean)
    for word in (" is ", " was ", " has ", " must ", "the ", " it ", " and ", " of "):
        assert word not in korean.lower(), korean
