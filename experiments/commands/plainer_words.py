"""What tyro says of a mistake on a command line, in one line and in plain words."""

import re

# What tyro says -> what is said instead.
PLAINER = (
    (r"Error parsing __tyro\S*: ", ""),
    (r"Missing from [^:]*: (\S+(?: [A-Z]+)?) (.*?)\.? \(required\).*", r"\1 must be given: \2"),
    (
        r"Error parsing (\S+): no type matching \{None\}\|INT could be .* from \[(.*?)\]\..*",
        r"\1 must be a whole number; got \2",
    ),
    (
        r"Error parsing (\S+): no type matching \{None\}\|FLOAT could be .* from \[(.*?)\]\..*",
        r"\1 must be a number; got \2",
    ),
    (
        r"Error parsing (\S+): no type matching \{None\}\|\{\[(?:FLOAT|INT) .* from \[(.*?)\]\..*",
        r"\1 must be numbers; got \2",
    ),
    (
        r"Error parsing (\S+): Could not find valid parse for arguments: \['(\W?\d[^']*[,;][^']*)'\]",
        r"\1 cannot be '\2': spaces separate several values",
    ),
    (r"Error parsing (\S+): Failed to parse key-value pairs!.*", r"\1 must be pairs: NAME VALUE NAME VALUE ..."),
    (r"Error parsing (\S+): Could not find valid parse for arguments: \[(.*?)\]", r"\1 cannot be \2"),
    (r"Missing value for argument '(\S+)'\. Expected \d+ values?\.", r"\1 needs a value"),
    (
        r"invalid choice (\S+) for argument '(\S+)'\. Expected one of \((.*?),?\)\.?",
        r"\2 must be one of \3; got \1",
    ),
    (r"must be one of 'None', ", "must be one of "),
    (r"(must be one of .*), 'None'", r"\1"),
    (
        r"(Unrecognized options: (?:.* )?(?:True|False))\b.*",
        r"\1: what is either on or off is named as --NAME or --no-NAME",
    ),
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: ", r"\1 must be a whole number; got "),
    (r"Error parsing (\S+): could not convert string to float: ", r"\1 must be a number; got "),
)


def in_plain_words(box: str) -> str:
    """The first two paragraphs of one of tyro's boxes in plain words, without its frame and without internal names."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    paragraphs = [part.strip() for part in re.split(r"[─-]{4,}", " ".join(lines))]
    # Where the terminal has no frames, the title is the first paragraph.
    if "╭" not in box:
        paragraphs = paragraphs[1:]
    wanted = [part for part in paragraphs if part and not part.startswith(("For full helptext", "Argument helptext"))]
    words = "; ".join(wanted[:2])
    for theirs, ours in PLAINER:
        words = re.sub(theirs, ours, words)
    return words
