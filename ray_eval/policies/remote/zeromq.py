"""A ZeroMQ request socket with deadlines that notices when the other end is gone, in the policy actor.

ZeroMQ connects again by itself and says nothing of it; its monitor does, so that a server that was exchanged is asked
who it is, and one that died is not waited for.
"""

from __future__ import annotations

import time
from typing import Any

from ray_eval.policies.remote.endpoint import KEEP_ALIVE, connect_tcp, host_and_port, import_from_extra
from ray_eval.policies.remote.packing import MESSAGE_LIMIT_BYTES
from ray_eval.policies.remote.pool import DEAD_S, LinkBrokenError, NoAnswerError, WrongServerError

DEFAULT_PORT = 5555
"""GR00T's."""


class RequestLink:
    """One REQ socket; one message each way at a time."""

    def __init__(self, address: str, timeout_s: float) -> None:
        """Connects and shakes hands, which ZeroMQ does beside whatever the server computes.

        Raises:
            LinkBrokenError: nobody listens there.
            WrongServerError: whoever listens there does not speak ZeroMQ.
        """
        self.address = address
        connect_tcp(address, DEFAULT_PORT, timeout_s).close()
        self._zmq = import_from_extra("zmq", "pyzmq", "groot")
        self._monitoring = import_from_extra("zmq.utils.monitor", "pyzmq", "groot")
        self._context = self._zmq.Context()
        self._socket = self._context.socket(self._zmq.REQ)
        self._set_options()
        self._events = self._socket.get_monitor_socket()
        self._poller = self._zmq.Poller()
        self._poller.register(self._socket, self._zmq.POLLIN)
        self._poller.register(self._events, self._zmq.POLLIN)
        try:
            self._socket.connect(f"tcp://{host_and_port(address)}")
            self._shake_hands(min(timeout_s, DEAD_S))
        except BaseException:
            self.close()
            raise

    def exchange(self, message: bytes, timeout_s: float) -> bytes:
        """The server's answer to a message.

        Raises:
            LinkBrokenError: the connection is gone, or goes before the answer is here.
        """
        if self._is_gone():
            raise LinkBrokenError("the connection broke")
        self._socket.send(message)
        deadline = time.monotonic() + timeout_s
        while True:
            ready = dict(self._poller.poll(max(0, int(1000 * (deadline - time.monotonic())))))
            if self._socket in ready:
                answer: bytes = self._socket.recv()
                return answer
            if self._is_gone():
                raise LinkBrokenError("the connection broke")
            if time.monotonic() >= deadline:
                raise NoAnswerError(f"no answer within {timeout_s:.1f} s")

    def close(self) -> None:
        """Hangs up."""
        self._socket.disable_monitor()
        self._events.close(linger=0)
        self._socket.close(linger=0)
        self._context.term()

    def _set_options(self) -> None:
        zmq, options = self._zmq, self._socket.setsockopt
        options(zmq.LINGER, 0)
        options(zmq.MAXMSGSIZE, MESSAGE_LIMIT_BYTES)
        # The kernels ask each other, as ZeroMQ's own heartbeats would ask a process that may be busy.
        options(zmq.TCP_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            options(getattr(zmq, name.replace("KEEP", "KEEPALIVE_")), value)
        options(zmq.HANDSHAKE_IVL, int(1000 * DEAD_S))
        # Whoever comes back is another process, and is met by a connection of its own.
        options(zmq.RECONNECT_IVL, -1)
        options(zmq.IPV6, 1)

    def _shake_hands(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self._events.poll(max(1, int(1000 * (deadline - time.monotonic())))):
                break
            event = self._event()
            if event == self._zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return
            if event in self._ends():
                break
        raise WrongServerError(
            f"policy server at {self.address}: expected a ZeroMQ server, got another one (no handshake); mend "
            "policy.addresses, or name the policy type that it speaks"
        )

    def _is_gone(self) -> bool:
        """Whether the monitor has told of the connection's end."""
        is_gone = False
        while self._events.poll(0):
            is_gone |= self._event() in self._ends()
        return is_gone

    def _event(self) -> int:
        return int(self._monitoring.recv_monitor_message(self._events)["event"])

    def _ends(self) -> tuple[Any, ...]:
        zmq = self._zmq
        return (
            zmq.EVENT_DISCONNECTED,
            zmq.EVENT_CLOSED,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        )
