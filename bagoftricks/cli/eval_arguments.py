"""Arguments of bot-eval that are not settings."""

from dataclasses import dataclass, field
from pathlib import Path

from bagoftricks.errors import UserError

PROGRAM = "bot-eval"
EXPORTS = (".safetensors", ".onnx", ".pt2")
DETAILS = ("by_class", "confusion", "calibration", "mistakes")
EVAL_ARGUMENTS = ("weight_set", "soup", "report", "export", "naming", *DETAILS)
TEXTS_OF_EVAL = ("run", "soup", "weights", "export", "naming", "weight_set", "copy", "show", "image", "out", *DETAILS)


@dataclass
class EvalArguments:
    """Arguments of the command that are not settings."""

    run: str | None = None
    """run of store=, by the start of its id, or last: the newest"""
    soup: str | None = None
    """ids of more runs, as [ID,ID]: the network with the mean of the weights of run= and these"""
    weights: str | None = None
    """file of weights instead: ours, torchvision's or timm's"""
    export: str | None = None
    """write the weights to this .safetensors file as well, or the network for other programs (.onnx, .pt2)"""
    naming: str = "ours"
    """names in .safetensors: ours, or torchvision (timm's too)"""
    weight_set: str | None = None
    """one weight set alone, as ema; last is the trained one"""
    by_class: str | None = None
    """true: accuracy by class, and what each class is taken for"""
    confusion: str | None = None
    """true: confusion matrix; or file of its picture (.png, .svg, .pdf)"""
    calibration: str | None = None
    """true: accuracy by confidence; or file of a reliability diagram"""
    mistakes: str | None = None
    """true: the most confident ones; or file of their images (.png)"""
    report: bool = False
    """true: with corruptions=, the error on every corruption at every severity"""
    show: str | None = None
    """corruptions: a picture of all corruptions of image=, those of corruptions=NAME as that protocol has them"""
    image: str | None = None
    """file of the image for show="""
    out: str = "corruptions.png"
    """file of the picture of show="""
    rest: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, arguments: list[str]) -> "EvalArguments":
        asked = cls()
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if equals and key in TEXTS_OF_EVAL:
                setattr(asked, "weight_set" if key == "copy" else key, value)  # copy: its name in earlier versions
            elif equals and key == "report":
                if value not in ("true", "false"):
                    raise UserError(f"report={value}: must be true or false")
                asked.report = value == "true"
            else:
                asked.rest.append(argument)
        asked.check()
        return asked

    def check(self) -> None:
        if self.run is not None and self.weights is not None:
            raise UserError("run= and weights= are two things to evaluate: type one of them")
        if self.soup is not None and (self.run is None or not all(self.others)):
            raise UserError(f"soup={self.soup}: type run=ID, and the other runs as soup=[ID,ID]")
        if self.naming not in (namings := ("ours", "torchvision")):
            raise UserError(f"naming={self.naming}: must be one of {', '.join(namings)}")
        if self.export is not None:
            suffix = Path(self.export).suffix.lower()
            if suffix not in EXPORTS:
                raise UserError(f"export={self.export}: the name must end in {', '.join(EXPORTS)}")
            if self.naming != "ours" and suffix != EXPORTS[0]:
                raise UserError(f"naming={self.naming}: names the tensors of a {EXPORTS[0]} file; leave it out")
        if self.show not in (None, "corruptions"):
            raise UserError(f"show={self.show}: there is only show=corruptions")
        if (self.show is None) != (self.image is None):
            raise UserError("show=corruptions and image=FILE belong together: type both")
        if not self.out.lower().endswith(".png"):
            raise UserError(f"out={self.out}: the name must end in .png")
        for name in ("export", *DETAILS):
            if getattr(self, name) not in (None, "true", "false") and {"-m", "--multirun"} & set(self.rest):
                raise UserError(f"{name}= writes one file: leave out -m")
        if self.by_class not in (None, "true", "false"):
            raise UserError(f"by_class={self.by_class}: must be true or false (confusion=FILE is a picture)")
        if self.mistakes not in (None, "true", "false") and not self.mistakes.lower().endswith(".png"):
            raise UserError(f"mistakes={self.mistakes}: the name must end in .png (true: a table)")

    @property
    def others(self) -> list[str]:
        """Beginnings of the ids of the other runs of a soup."""
        return [part.strip() for part in (self.soup or "").removeprefix("[").removesuffix("]").split(",")]

    @property
    def tables(self) -> list[str]:
        """Names of the tables of details."""
        return [name for name in DETAILS if getattr(self, name) == "true"]

    @property
    def pictures(self) -> dict[str, str]:
        """Files of the pictures of details, by their names."""
        given = {name: getattr(self, name) for name in DETAILS}
        return {name: value for name, value in given.items() if value not in (None, "true", "false")}
