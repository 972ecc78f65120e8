"""The kernel starts no more processes (RLIMIT_NPROC): errors name the limit."""

import pytest


@pytest.mark.parametrize("call", ["Netns.create()", "netns.run(['true'])"])
def test_process_limit_error_names_the_limit(call, run_python):
    """Root is exempt from the limit, so an ordinary user runs this in a user namespace."""
    source = f"""
        import resource
        from tunlab.errors import KernelError
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.namespace.userns import enter_user_namespace
        enter_user_namespace()
        netns = Netns.create()
        netns.run(["true"])
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        try:
            {call}
        except KernelError as error:
            print(error)
    """
    assert "this user or container has the maximum number of processes (EAGAIN). " in run_python(source, nobody=True)
