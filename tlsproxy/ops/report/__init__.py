"""The shadow report: whom a stricter ``tls_protocols`` would refuse.

Each process that serves collects what notes tell in a :class:`~tlsproxy.ops.report.buffer.ReportBuffer`; one process, the
service's own, writes it to a :class:`~tlsproxy.ops.report.store.ReportStore` every few seconds, by a
:class:`~tlsproxy.ops.report.writer.ReportWriter`. ``tlsproxy report`` reads the same file.
"""
