"""Prompts as people write them, and what the scripted model does then: for pictures of the page."""

import msgspec

from orchestrator.testing.scripted_model.script import Rule, Say, Script, Use, built_in_script

PLAN = """\
I'll keep it small: one file, the standard library only.

1. Read the text from a file or from standard input.
2. Count the words, ignoring case and punctuation.
3. Print the **ten most frequent** ones.
"""

PROGRAM = '''\
"""Print the ten most frequent words of a text."""

import re
import sys
from collections import Counter


def words(text: str) -> list[str]:
    return re.findall(r"[^\\W\\d_]+", text.lower())


def main() -> None:
    text = open(sys.argv[1]).read() if len(sys.argv) > 1 else sys.stdin.read()
    for word, count in Counter(words(text)).most_common(10):
        print(f"{count:6}  {word}")


if __name__ == "__main__":
    main()
'''

RUN = """\
printf 'the cat and the hat and the mat\\n' > sample.txt
python3 top_words.py sample.txt | tee result.txt"""

WRITE_AND_RUN = Rule(
    when="most frequent words",
    steps=(
        Say(text=PLAN, per_second=12),
        Use(tool="Write", input={"file_path": "/workspace/top_words.py", "content": PROGRAM}),
        Use(tool="Bash", input={"command": "ls -l", "description": "List the workspace"}),
        Say(text="The program is there. Now a first run, on a small sample:"),
        Use(tool="Bash", input={"command": RUN, "description": "Run it on a small sample"}),
        Say(text="It works: `the` comes first, with three."),
    ),
)


def with_real_prompts() -> Script:
    built_in = built_in_script()
    return msgspec.structs.replace(built_in, rules=(WRITE_AND_RUN, *built_in.rules))
