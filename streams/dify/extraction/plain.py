"""Reads text files: detects the encoding, and rejects files that are not text."""

from streams.dify.errors import ExtractionError

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def plain_text(content: bytes, encoding: str = "utf-8") -> str:
    """Return the text of a file with newlines as line ends. A byte order mark takes precedence over `encoding`.

    Raises ExtractionError if the bytes are not text in that encoding.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            content, encoding = content.removeprefix(mark), name
            break
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        message = f"the file is not {encoding.upper()} text: byte {error.start} cannot be read"
        raise ExtractionError(message) from error
    except LookupError as error:
        message = f"the file declares an unknown encoding: {encoding}"
        raise ExtractionError(message) from error
    if "\x00" in text:
        message = "the file is binary, not text"
        raise ExtractionError(message)
    return text.replace("\r\n", "\n").replace("\r", "\n")
