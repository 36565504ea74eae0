"""Attacks against defences on a client's own images: scores, verdicts and the report."""

from tfgen.privacy.audit.gradient_audit import GradientAudit
from tfgen.privacy.audit.result import AuditResult
from tfgen.privacy.audit.verdict import Verdict

__all__ = ["AuditResult", "GradientAudit", "Verdict"]
