"""Who may do what, as Markdown, read from the tables that the gateway runs.

python -m tools.policy_page > docs/policy.md
"""

import sys
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cli.policy import effective, rules, shown

HEAD: Final = """# Who may do what

Made from the tables of routes by `python -m tools.policy_page > docs/policy.md`; a test keeps it current.
[operations.md](operations.md), "Who may do what", tells how an operator reads, tries and changes these rules.
Each call has one rule; some calls ask another one besides, for more than is usual. Compute's calls are also
there under `/compute/v2.1/{project_id}`.

| condition | holds for |
|---|---|
| `public` | anybody, without a token |
| `authenticated` | any valid token |
| `admin` | the role admin, wherever it was given |
| `self` | what belongs to the caller's own user |
| `project ROLE` | a token for a project, with the role, and what belongs to that project |
| `domain ROLE` | a token for a domain, with the role, and what belongs to that domain |
| `system ROLE` | a token for the system, with the role |

Roles imply each other: admin, manager, member, reader. A **reader** sees what is the project's, a **member**
makes and changes it, a **manager** also does what concerns the whole project; a manager of a **domain** looks
after its users, groups and projects and hands out every role below admin; **admin** is the operator.
"""


def document() -> str:
    """The whole page."""
    return HEAD + shown(rules(effective("")), "markdown")


if __name__ == "__main__":
    sys.stdout.write(document())
