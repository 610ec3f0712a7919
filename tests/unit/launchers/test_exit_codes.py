from backend.launchers.exit_codes import MAX_QUOTE, diagnose_exit_code, quote, quote_end


def test_end_of_output_is_quoted():
    """After a long line or a progress bar, the error is what counts."""
    bar = "".join(f"\r{n:3}% {'#' * (n // 10):10}" for n in range(101))
    output = f"{'x' * 3000}\n\n{bar}\n\x1b[1;31mValueError: boom\x1b[0m\n"
    why = diagnose_exit_code(1, output, "1.log")

    assert why.message.endswith("100% ########## ValueError: boom")
    assert "\x1b" not in why.message
    assert "\r" not in why.message
    assert " 99%" not in why.message
    assert len(quote_end(output)) == MAX_QUOTE
    assert quote_end(output).startswith("…x")


def test_changed_input_is_named():
    why = diagnose_exit_code(66, "error: a.csv has changed", "1.log")

    assert why.reason == "input_changed"
    assert "a.csv has changed" in why.message


def test_begin_of_message_is_quoted():
    assert quote("\x1b[31mred\x1b[0m" + "x" * 1000).startswith("redxxx")


def test_killed_trainer_hints_at_memory():
    why = diagnose_exit_code(137, "epoch 3/20", "1.log")

    assert why.reason == "trainer_failed"
    assert "code 137" in why.message
    assert "memory" in why.remedy
    assert "memory" not in diagnose_exit_code(1, "", "1.log").remedy
