import time

import pytest

from tests.conftest import Deployment

T = time.time()


@pytest.mark.parametrize("i", range(4))
def test_a(deployment, i):
    global T
    assert isinstance(deployment, Deployment)
    c = deployment.client()
    print("setup", time.time() - T)
    t = time.time()
    list(c.list_pools())
    print("call", time.time() - t)
    t = time.time()
    for _ in range(100):
        list(c.list_pools())
    print("100 calls", time.time() - t)
    T = time.time()
