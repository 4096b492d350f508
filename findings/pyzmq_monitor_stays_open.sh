#!/usr/bin/env bash
# pyzmq 27.3.0: Socket.disable_monitor() does not close the monitor's PAIR socket while anybody holds it, although its
# documentation says "Shutdown the PAIR socket (created using get_monitor_socket)". Context.term() then waits for ever.
# One expects that enable, disable, close and term end; they do only where the PAIR socket is closed by hand as well.
#
# Seen on Python 3.11, Linux:
#   after disable_monitor the PAIR socket is closed: False
#   closed by hand: term returned True
#   as documented: term returned False
# Exit code 0: it is still so. 1: pyzmq behaves otherwise now.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyzmq==27.3.0

cat > "$folder/try.py" <<'PYTHON'
import os
import threading

import zmq


def returns(closes_by_hand):
    context = zmq.Context()
    socket = context.socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    monitor = socket.get_monitor_socket()
    socket.disable_monitor()
    print("after disable_monitor the PAIR socket is closed:", monitor.closed)
    if closes_by_hand:
        monitor.close()
    socket.close()
    ending = threading.Thread(target=context.term, daemon=True)
    ending.start()
    ending.join(20)
    print("closed by hand:" if closes_by_hand else "as documented:", "term returned", not ending.is_alive(), flush=True)
    return not ending.is_alive()


found = (returns(True), returns(False))
os._exit(0 if found == (True, False) else 1)  # a thread waits in term
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
