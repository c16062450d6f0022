import os

from gluon_cgd.files.printable import printable


def test_what_controls_a_terminal_is_escaped_and_other_text_is_not():
    assert printable("a\x1b[2Jb\rc\nd\x9b1m") == "a\\x1b[2Jb\\rc\\nd\\x9b1m"
    assert printable("gpj.\u202egnp") == "gpj.\\u202egnp"
    assert printable(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"
    plain = "Größe 東京 👩\u200d👧 [x] 100 % C:\\dir"
    assert printable(plain) == plain
    assert printable("one\ttwo\nthree\x1b", lines=True) == "one\ttwo\nthree\\x1b"
