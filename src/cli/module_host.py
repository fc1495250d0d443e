"""Runs a broker module that is written in Python (RFC 5): a file with a function mod_main(handle, *args), or with a class that is
derived from flux.brokermod.BrokerModule. The broker's connection is named by FLUX_MODULE_URI.
"""

import errno
import os
import sys
import traceback

try:
    import flux
    from _flux._core import ffi, lib
    from flux.brokermod import resolve_entry_point
    from flux.importer import import_path
except ImportError as exc:
    sys.exit(
        f"flux-module-python-exec: {exc}. Modules in Python need Flux's bindings:"
        " let PYTHONPATH or FLUX_PYTHONPATH_PREPEND name their directory"
    )


def checked(call, *args):
    """What `call` of the library does, with its last argument for what went wrong."""
    error = ffi.new("flux_error_t[1]")
    if call(*args, error) < 0:
        text = ffi.string(error[0].text).decode("utf-8", errors="replace")
        sys.exit(f"flux-module-python-exec: {text}")


def run(handle, path, words):
    """Runs the module; returns the errno of its failure, 0 for none."""
    try:
        resolve_entry_point(import_path(path))(handle, *words)
        return 0
    except ValueError as exc:
        print(f"{os.path.basename(path)}: {exc}", file=sys.stderr)
        return errno.EINVAL
    except OSError as exc:
        return exc.errno or errno.ECONNRESET
    except Exception:  # whatever it is, the broker is told that the module failed
        traceback.print_exc()
        return errno.ECONNRESET


def main(path):
    handle = flux.Flux(url=os.environ["FLUX_MODULE_URI"])
    text = ffi.new("char **")
    checked(lib.flux_module_initialize, handle.handle, text)
    words = []
    if text[0] != ffi.NULL:
        words = ffi.string(text[0]).decode("utf-8").split()
        lib.free(text[0])
    checked(lib.flux_module_register_handlers, handle.handle)
    failure = run(handle, path, words)
    checked(lib.flux_module_finalize, handle.handle, failure)


main(sys.argv[1])
