"""One fake world over real sockets, in one process of its own: Kubernetes, Velero, the application.

It is held to the real thing by the suite in tests/contract, which both must pass.
"""
