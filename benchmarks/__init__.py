"""tlsproxy beside stunnel, hitch, nginx, HAProxy and Postfix: `python -m benchmarks`, described in docs/performance.md."""
