"""The stages ``image`` and ``smoke``: a context → an image, its last test, and only then its names."""

import secrets
import time
from dataclasses import asdict, dataclass, replace

from onnxpack.bundle.bytecode import MODULES, PACKAGES, Bytecode, CompileRequest, add_bytecode, make_request
from onnxpack.bundle.context import CONTENT_LABEL, VERSION_LABEL, Context
from onnxpack.core.digests import digest
from onnxpack.core.interrupts import afterwards
from onnxpack.core.quiet import working
from onnxpack.image.compile import compile_modules
from onnxpack.image.engine import BuildRequest, Image, Smoke, SmokeRequest
from onnxpack.image.smoke import smoke_test
from onnxpack.pipeline.gates import require_measures, require_size
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.unjudged import require_judged
from onnxpack.spec.intakes import list_client_axes
from onnxpack.worker.code import digest_code


@dataclass(frozen=True)
class DeliverImage:
    """The stage that builds an image under a temporary name, tests it if ``smoke`` is asked for, and names it."""

    smoke: bool

    def __call__(self, run: Build, product: Product) -> Product:
        """Return the product with the named image; one that fails its test keeps no name.

        Raises:
            GateError: the image is too large, answers wrongly, or breaks a gate.
            EngineError: the engine did not do its part.
        """
        context, base = product.context, product.base
        assert context
        assert base
        references = run.plan.tags(context.version, context.content_key)
        _compile(run, context, base)
        temporary = f"onnxpack-build:{secrets.token_hex(8)}"
        with afterwards(lambda: run.engine.untag(temporary)):
            image = _make_image(run, context, base, (references[-1], temporary))
            require_size(run.plan.gates, image.size_bytes)
            smoke = _test_image(run, product, context, image) if self.smoke else None
            if smoke:
                require_measures(run.plan.gates, smoke)
            done = replace(product, image=image, references=references, smoke=smoke)
            require_judged(run, done)
            for name in references:
                run.engine.tag(image.id, name)
            assert product.folder
            archive = run.engine.leave(image.id, references, product.folder)
        return replace(done, archive=archive)


@dataclass(frozen=True)
class _Traits:
    """What tells whether an image is the one to build: its key in the report is made of the same values."""

    content_key: str
    version: str
    base: tuple[str, ...]
    """The digests of the base's layers."""
    compression: str


def _compile(run: Build, context: Context, base: Image) -> None:
    """Add to the context what the base image's Python makes of its modules.

    It follows from the context and the base, so no key of the image needs to say it.
    """
    for part in (PACKAGES, MODULES):
        compiled = _compile_part(run, make_request(context.folder, part, base.id), part)
        add_bytecode(context.folder, part, compiled)


def _compile_part(run: Build, asked: CompileRequest, part: str) -> Bytecode:
    """Return the compiled modules of a part, made once for the same sources and base."""
    module = "onnxpack.image.compile"
    return run.runner.keep("compile", asked, Bytecode, module, lambda: compile_modules(run.engine, asked), of=part)


def _make_image(run: Build, context: Context, base: Image, names: tuple[str, str]) -> Image:
    """Return the image that the engine has, if it is of this content on this base, else a new one.

    ``names`` are the name that such an image has, made of its content, and the temporary name that a new one gets.
    """
    started = time.monotonic()
    content_tag, temporary = names
    wanted = _Traits(context.content_key, context.version, _list_digests(base), run.compression)
    key = digest("image", asdict(wanted))
    found = None if run.store.fresh else run.engine.find(content_tag)
    if found and _read_traits(found, wanted) == wanted:
        run.progress.skip("image", "unchanged")
        run.runner.record("image", "", started, key, cached=True)
        return found
    with working(), run.progress.stage("image"):
        image = run.engine.build(BuildRequest(context, base, temporary, run.compression, run.store.fresh))
    run.runner.record("image", "", started, key, cached=False)
    return image


def _test_image(run: Build, product: Product, context: Context, image: Image) -> Smoke:
    """Test an image, once for the same image and Reference."""
    plan, exported, model = run.plan, product.exported, product.model
    assert exported
    assert model
    emulated = image.platform not in ("", run.engine.find_platform())
    asked = SmokeRequest(
        image=image.id,
        reference=exported.served,
        tolerance=plan.tolerance(model.precision),
        timed=exported.served.opt_case(list_client_axes(plan.file.spec), exported.served.asked),
        port=plan.port,
        on_gpu=run.engine.has_gpu() if plan.device.gpu else None,
        libraries=_list_linked_libraries(context, plan.device.name),
        emulated=emulated,
        # What an emulator needs of time and memory is not the image's.
        soak_seconds=0.0 if emulated else plan.soak_seconds,
        first_answer=None if emulated else plan.gates.limits.first_answer,
        load_seconds=0.0 if emulated else plan.load_seconds,
    )
    # How an engine runs containers is part of what they show.
    request = (digest_code(type(run.engine).__module__), asked)
    return run.runner.keep("smoke", request, Smoke, "onnxpack.image.smoke", lambda: smoke_test(run.engine, asked))


def _list_linked_libraries(context: Context, device: str) -> tuple[str, ...]:
    """Return what the device's execution provider links; the CPU's is part of the runtime."""
    if device == "cpu":
        return ()
    from onnxpack.bundle.packages import list_provider_libraries  # it reads ELF files, which takes a while to import

    return list_provider_libraries(context.folder, device)


def _read_traits(image: Image, wanted: _Traits) -> _Traits:
    """Return the same of an image that an engine has; a compression that it does not tell is the one that is wanted."""
    content_key, version = (image.labels.get(name, "") for name in (CONTENT_LABEL, VERSION_LABEL))
    base = _list_digests(image)[: len(wanted.base)]
    return _Traits(content_key, version, base, image.compression or wanted.compression)


def _list_digests(image: Image) -> tuple[str, ...]:
    return tuple(layer.digest for layer in image.layers)
