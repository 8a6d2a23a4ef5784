"""An audit as text for a terminal, and as a Markdown page."""

from runs.audit.findings import CHECKS, GRADES, Audit, Finding

_TITLES = {"leak": "Leaks", "error": "Errors", "warning": "Warnings", "info": "Info"}


def text(audit: Audit) -> str:
    """The summary, then each finding with its example and remedy; `-` marks those that do not stop a pipeline."""
    stops = audit.stopping()
    lines = [audit.summary()]
    if audit.share < 1.0:
        lines.append(f"read: the records of {audit.share:.1%} of the users")
    for finding in audit.findings:
        mark = "STOP" if finding in stops else "-"
        lines += ["", f"{mark} {finding.grade}  {finding.key}", f"  {finding.message}"]
        lines += [f"  example: {finding.example}"] if finding.example else []
        lines += [f"  fix: {finding.remedy}"] if finding.grade != "info" else []
        lines += ["  accepted by the dataset's declaration"] if _accepted(finding, audit) else []
    return "\n".join(lines) + "\n"


def page(audit: Audit, title: str) -> str:
    """The audit as a Markdown page.

    Args:
      audit: the result.
      title: of the page, e.g. the dataset's folder.
    """
    lines = [f"# Audit of {title}", "", f"{audit.summary()}.", ""]
    counts = [f"{split} {count:,}" for split, count in audit.examples.items()]
    lines += [
        f"Source `{audit.source}`, {audit.record} records, sha256 `{audit.dataset_sha256[:16]}`; examples read: "
        f"{', '.join(counts)}" + (f", of {audit.share:.1%} of the users" if audit.share < 1.0 else "") + ".",
        "",
        f"Compared with the data `{audit.baseline[:16]}`." if audit.baseline else "Compared with no earlier data.",
    ]
    for grade in GRADES:
        findings = [finding for finding in audit.findings if finding.grade == grade]
        if findings:
            lines += ["", f"## {_TITLES[grade]}", "", "| finding | what | figure | threshold | example | remedy |"]
            lines += ["|---|---|---|---|---|---|", *(_row(finding, audit) for finding in findings)]
    quiet = sorted(set(CHECKS) - {finding.check for finding in audit.findings})
    lines += ["", f"Nothing found by: {', '.join(quiet)}."]
    return "\n".join(lines) + "\n"


def _row(finding: Finding, audit: Audit) -> str:
    key = f"`{finding.key}`" + (" (accepted)" if _accepted(finding, audit) else "")
    cells = [key, finding.message, f"{finding.figure:.4g}", f"{finding.threshold:.4g}", finding.example, finding.remedy]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _accepted(finding: Finding, audit: Audit) -> bool:
    return bool({finding.key, finding.check} & set(audit.accepted))
