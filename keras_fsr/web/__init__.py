"""The web app: a page on which one drops a photo, and the server behind it. Needs the extra `web`."""

import os

# Before Gradio is imported: it reports to nobody, and reaches its own server without a proxy.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "100"  # each event sums up all that are kept
for number in ("SERVER_PORT", "NUM_PORTS", "NODE_SERVER_PORT", "NODE_NUM_PORTS"):
    os.environ.pop(f"GRADIO_{number}", None)  # it would stop at what is no number, and the command names the port
os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "localhost", "127.0.0.1", "::1"]))
