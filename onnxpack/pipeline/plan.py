"""Works out the names, places and tolerances of one target from its spec; pure, so it is tested without an engine."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.bundle.answers import find_answers
from onnxpack.bundle.conclusions import ConclusionView
from onnxpack.bundle.context import VERSION_LABEL
from onnxpack.bundle.lock import LockedBase, name_base
from onnxpack.bundle.pictures import PICTURE_ENV
from onnxpack.bundle.render import DockerView, ModuleView
from onnxpack.bundle.texts import name_tokenizer
from onnxpack.core.artifacts import Artifact
from onnxpack.core.platforms import find_own_platform
from onnxpack.core.values import MODEL, Axis, OnnxModel
from onnxpack.data.domains import list_typical_values
from onnxpack.parity.compare import Tolerance
from onnxpack.pipeline import UNTIL, WHOLE
from onnxpack.spec.conclusions import conclude_outputs, list_conclusions
from onnxpack.spec.delivery import Target, list_ports
from onnxpack.spec.intakes import list_intakes, replace_given
from onnxpack.spec.limits import EffectiveGates, effective_gates, list_unused
from onnxpack.spec.load import SpecFile
from onnxpack.spec.served import list_client_columns, make_served_spec
from onnxpack.spec.tokenizer_file import read_tokenizer
from onnxpack.targets import Device, Versions, load_device
from onnxpack.transforms.outputs import read_labels

_SOAK_SECONDS = 2.0
"""How long a soak takes where the report alone asks for it: it must not be what a build waits for."""
_GATED_SOAK_SECONDS = 10.0
"""How long it takes where ``gates.rss_growth`` depends on it."""


def output_folder(output: Path, file: SpecFile, target: str, until: str = WHOLE[-1]) -> Path:
    """Return where outputs go below ``output``: a model made on the way never takes the place of a finished bundle.

    Raises:
        ValueError: there is no stage ``until``.
    """
    if until not in UNTIL:
        raise ValueError(f"there is no stage '{until}': {', '.join(UNTIL)}")
    return place_output(output, file.spec.name, target, until)


def place_output(output: Path, name: str, target: str, until: str = WHOLE[-1]) -> Path:
    """Return the same of a spec's name."""
    return output / name / (target if until in WHOLE else f"{target}.{until}")


@dataclass(frozen=True)
class Plan:
    """One target of a spec."""

    file: SpecFile
    target: str
    output: Path
    """``<output folder>/<name>/<target>``."""
    sandbox: bool = False
    """True confines the processes that load and run the model; see ``worker.sandbox``."""
    reproduce: bool = False
    """True builds the image a second time, which must give the same one."""
    push: bool = False
    """True pushes the image to its registry once it has passed its test."""

    @property
    def spec_target(self) -> Target:
        """Return the target as the spec describes it."""
        return self.file.spec.targets[self.target]

    @property
    def device(self) -> Device:
        """Return what the target's hardware needs."""
        return load_device(self.spec_target.device)

    @property
    def foreign(self) -> bool:
        """Return whether the image is for another kind of machine than this one: no speed measured here is its own."""
        return self.spec_target.platform != find_own_platform()

    @property
    def isa(self) -> str | None:
        """Return the best instruction set that all machines of the target have; None where it is not known."""
        return self.spec_target.isa or ("neon" if self.spec_target.platform == "linux/arm64" else None)

    @property
    def base(self) -> str:
        """Return the base image's reference."""
        return name_base(self.file.spec, self.target)

    @property
    def precision(self) -> str:
        """Return the precision that the spec asks for; ``auto`` until one is chosen."""
        return self.spec_target.precision

    @property
    def gates(self) -> EffectiveGates:
        """Return the common limits with the target's own over them, and where each stands in the spec."""
        return effective_gates(self.file.spec, self.target, self.file.where)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return notes on what the spec gives and this target does not use."""
        return list_unused(self.file.spec, self.target, self.file.where)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Return the dynamic axes that a client sees; those of pictures that are resized are among them."""
        return make_served_spec(self.file.spec).axes

    @property
    def threads(self) -> int | None:
        """Return the runtime's number of threads; None where it counts the CPUs that it has."""
        threads = self.spec_target.threads or self.file.spec.runtime.threads
        return None if threads == "auto" else threads

    def tolerance(self, precision: str) -> Tolerance:
        """Return the spec's tolerance, else that of a model's precision and of each output's dtype."""
        verify = self.file.spec.verify
        return Tolerance.of(precision, verify.rtol, verify.atol)

    @property
    def ports(self) -> tuple[int, ...]:
        """Return the ports that the image listens on, if it has a server: that of HTTP first."""
        runtime = self.file.spec.runtime
        return list_ports(runtime.server, runtime.port)

    @property
    def port(self) -> int | None:
        """Return the port of HTTP, if the image has a server."""
        return next(iter(self.ports), None)

    @property
    def soak_seconds(self) -> float:
        """Return how long the smoke test sends requests of all declared sizes; 0 where they have one size."""
        if self.gates.limits.rss_growth is not None:
            return _GATED_SOAK_SECONDS
        return _SOAK_SECONDS if self.axes else 0.0

    @property
    def load_seconds(self) -> float:
        """Return how long the smoke test loads a server with requests; 0 where it does not, or there is none."""
        return self.file.spec.runtime.load_test if self.ports else 0.0

    def result(self, until: str) -> Path:
        """Return the path that a build leaves which stops before the image: the model, or the build context."""
        return self.output / ("context" if until == "bundle" else MODEL)

    def tags(self, version: str, content_key: str) -> tuple[str, ...]:
        """Return the image's references: by version, and by content."""
        repository = self.file.spec.image.repository or self.file.spec.name
        names = (f"{repository}:{version}-{self.target}", f"{repository}:{content_key[:12]}-{self.target}")
        return tuple(dict.fromkeys(names))  # one name where the version is made of the content key

    def module_view(self, model: OnnxModel) -> ModuleView:
        """Return what the image's Python is rendered from; its version is filled in when it is known."""
        spec = self.file.spec
        batching = spec.runtime.batching
        intakes = list_intakes(spec)
        conclusions = list_conclusions(spec)
        outputs = conclude_outputs(spec, model.outputs)
        return ModuleView(
            name=spec.name,
            version="",
            description=spec.description,
            inputs=replace_given(intakes, model.inputs),
            outputs=outputs,
            axes=self.axes,
            opset=model.opset,
            precision=model.precision,
            device="cuda" if self.device.name == "cuda" else "cpu",
            threads=self.threads,
            server=spec.runtime.server,
            port=spec.runtime.port,
            max_body=spec.runtime.max_body,
            warmup=spec.runtime.warmup,
            max_queue=spec.runtime.max_queue,
            drain=spec.runtime.drain,
            columns=list_client_columns(spec),
            values={name: list_typical_values(tensor) for name, tensor in make_served_spec(spec).inputs.items()},
            max_batch_size=batching.max_batch_size if batching else None,
            max_queue_delay=batching.max_queue_delay if batching else 0.0,
            gpu_nodes=self.gates.limits.gpu_nodes if self.device.gpu else None,
            workers=spec.runtime.workers,
            intakes=intakes,
            tokenizers={path: read_tokenizer(self.file.resolve(path)) for path in self._tokenizers.values()},
            conclusions=tuple(
                ConclusionView.of(one, model.outputs, read_labels(self.file, one.step)) for one in conclusions
            ),
            answers=find_answers(self.file, outputs, model.classes),
        )

    def list_tokenizers(self) -> dict[str, Artifact]:
        """Return the files of tokenizers that lie beside the module, by their names there."""
        return {name: Artifact.of(self.file.resolve(path)) for name, path in self._tokenizers.items()}

    @property
    def _tokenizers(self) -> dict[str, str]:
        numbered = enumerate(list_intakes(self.file.spec))
        return {name_tokenizer(number): path for number, intake in numbered if (path := intake.steps[0].tokenizer)}

    def docker_view(self, model: OnnxModel, versions: Versions, base: LockedBase | None = None) -> DockerView:
        """Return what the Dockerfile is rendered from; the labels of version and content are added later.

        ``versions`` are those of the packages that the target's lock holds, and ``base`` is the base image as it pins
        it, if it does.
        """
        spec = self.file.spec
        labels = {
            "org.opencontainers.image.title": spec.name,
            "org.opencontainers.image.description": spec.description,
            VERSION_LABEL: "",
            "org.opencontainers.image.base.name": self.base,
            **({"org.opencontainers.image.base.digest": base.digest} if base else {}),
            "dev.onnxpack.target": self.target,
            "dev.onnxpack.device": self.device.name,
            "dev.onnxpack.opset": str(model.opset),
            "dev.onnxpack.precision": model.precision,
            "dev.onnxpack.model.sha256": model.sha256,
            **versions.labels,
            **spec.image.labels,
        }
        decodes = any(intake.kind == "picture" for intake in list_intakes(spec))
        env = {**self.device.env, **versions.env, **(PICTURE_ENV if decodes else {}), **spec.image.env}
        return DockerView(base.pinned if base else self.base, labels, env, self.ports, spec.runtime.server)
