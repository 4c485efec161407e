"""A caller's own template: what the sandbox forbids, and what it returns."""

import pytest

from streams.dify.errors import RefusedError
from streams.dify.mail.caller_template import MAX_HTML, Mode, render_caller_template

SECTION = "The whole domain"
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self.__init__ }}",
    "{{ (lipsum|attr('__globals__'))['os'] }}",
    "{% for x in range(10 ** 9) %}x{% endfor %}",
    "{{ '{0.__class__}'.format(name) }}",
]


@pytest.mark.requirement(SECTION, "mail.requested: a caller's own template runs in a sandbox")
@pytest.mark.parametrize("template", ESCAPES)
def test_a_template_does_not_leave_the_sandbox(template: str) -> None:
    """It fails, or writes nothing of what it asked for."""
    try:
        found = render_caller_template("s", template, {"name": "Ada"}, "sandbox").html
    except RefusedError as error:
        assert "the template cannot be rendered" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert found == ""


def test_values_are_escaped_unless_the_template_wants_them_as_html() -> None:
    body = "<p>{{ name }}</p><div>{{ name|safe }}</div>{{ unknown }}"
    content = render_caller_template("Hi {{ name }}", body, {"name": "<i>Ada</i>"}, "sandbox")
    assert content.subject == "Hi {{ name }}"
    assert content.html == "<p>&lt;i&gt;Ada&lt;/i&gt;</p><div><i>Ada</i></div>"
    assert content.text == "<i>Ada</i>\n\nAda"


@pytest.mark.parametrize(("mode", "html"), [("disabled", "{{ 1 + 1 }}"), ("sandbox", "2"), ("unsafe", "2")])
def test_the_mode_decides(mode: Mode, html: str) -> None:
    assert render_caller_template("s", "{{ 1 + 1 }}", {}, mode).html == html


@pytest.mark.requirement(SECTION, "mail.requested: `unsafe` templates only by setting")
def test_only_unsafe_reads_hidden_attributes() -> None:
    assert render_caller_template("s", "{{ ''.__class__ }}", {}, "unsafe").html == "&lt;class &#39;str&#39;&gt;"
    with pytest.raises(RefusedError, match="SecurityError"):
        render_caller_template("s", "{{ ''.__class__.__mro__ }}", {}, "sandbox")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ 'x' * 2000000 }}", "more than"),
        ("{% for x in range(99999) %}{{ 'x' * 99 }}{% endfor %}", "more than"),
        ("(" * 5 + "{{" + "(" * 3000 + "1" + ")" * 3000 + "}}", "cannot be rendered"),
    ],
)
def test_a_wrong_template_is_refused(template: str, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        render_caller_template("s", template, {}, "sandbox")


def test_a_body_that_is_no_template_is_bounded_too() -> None:
    with pytest.raises(RefusedError, match="more than"):
        render_caller_template("s", "x" * (MAX_HTML + 1), {}, "disabled")
