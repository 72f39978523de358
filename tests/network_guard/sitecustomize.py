"""Loaded by every Python process that has this folder on PYTHONPATH: refuses all addresses but loopback.

What was tried is appended to the file RECSYS_TEST_NETWORK_LOG. Names are not looked up either.
"""

import ipaddress
import os
import socket
import sys
from pathlib import Path

_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _is_local(host):
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_unless_local(host):
    host = host.decode() if isinstance(host, bytes) else host
    if not _is_local(host):
        with Path(os.environ["RECSYS_TEST_NETWORK_LOG"]).open("a", encoding="utf-8") as log:
            log.write(f"{host} by {' '.join(sys.argv)}\n")
        raise OSError(101, f"the network is not to be used: {host}")


def _guarded(method):
    def call(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_unless_local(address[0])
        return method(self, address)

    return call


def _guarded_getaddrinfo(host, *args, **options):
    _refuse_unless_local(host)
    return _getaddrinfo(host, *args, **options)


socket.socket.connect = _guarded(_connect)
socket.socket.connect_ex = _guarded(_connect_ex)
socket.getaddrinfo = _guarded_getaddrinfo
