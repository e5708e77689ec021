"""The mistakes and the liberties of a command line, before Hydra sees it."""

import pytest

from bagoftricks.cli.arguments import normalise_arguments, refuse_repeated, setting_types
from bagoftricks.errors import UserError


@pytest.mark.parametrize(
    ("given", "tidied"),
    [
        (["+tweak=resnet_d", "+refine=mixup"], ["+tweak=[resnet_d]", "+refine=[mixup]"]),
        (["+refine=[cosine,mixup]"], ["+refine=[cosine,mixup]"]),
        (["+refine=cosine", "+refine=[mixup]"], ["+refine=[cosine,mixup]"]),
        (["+refine=[cosine]", "refine=[mixup]"], ["refine=[cosine,mixup]"]),
        (["+refine=mixup", "+refine=mixup"], ["+refine=[mixup]"]),
        (["refine=mixup"], ["refine=[mixup]"]),
        (["refine=[]"], ["refine=[]"]),
        (["-m", "+tweak=resnet_b,resnet_c"], ["+tweak=[resnet_b],[resnet_c]", "-m"]),
        (["-m", "+refine=[],[cosine,mixup],mixup"], ["+refine=[],[cosine,mixup],[mixup]", "-m"]),
        (["--cfg", "job", "+seed=3"], ["seed=3", "--cfg", "job"]),
        (["--info", "defaults", "++tricks.mixup.alpha=1"], ["tricks.mixup.alpha=1", "--info", "defaults"]),
        (["+data=cifar10", "~tricks.mixup"], ["data=cifar10", "~tricks.mixup"]),
        (["data.root=~/my photos (2)"], ["data.root='~/my photos (2)'"]),
        (["store=it's"], ["store='it\\'s'"]),
        (["-m", "seed=0,1", "data.root=a,b"], ["seed=0,1", "data.root='a','b'", "-m"]),
        (["model.depths=[1,2]"], ["model.depths=[1,2]"]),
        (["hydra.verbose=true"], ["hydra.verbose=true"]),
        (["model=timm/resnet50d"], ["model=timm", "model.network='resnet50d'"]),
        (["+model=torchvision/vit_b_16"], ["model=torchvision", "model.network='vit_b_16'"]),
        (["-m", "model=timm/a.b_1,timm/c"], ["model=timm", "model.network='a.b_1','c'", "-m"]),
        (["model=timm/1e5"], ["model=timm", "model.network='1e5'"]),
        (
            ["+refine=[mixup,]", "+tweak='se sk'", '+data="digits"'],
            ["data=digits", "+refine=[mixup]", "+tweak=[se,sk]"],
        ),
    ],
)
def test_what_is_meant_reaches_hydra(given, tidied):
    assert normalise_arguments(given) == tidied


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("+twaek=resnet_d", r"there is no setting or group 'twaek'; did you mean '\+tweak=resnet_d'\?"),
        ("+tweak=resnt_d", r"tweak has no option 'resnt_d'; did you mean 'resnet_d'\?"),
        ("'+tweak=[resnet_d]'", "is not key=value"),
        ("+tweak=mixup", r"tweak has no option 'mixup'; it belongs to refine: type \+refine=mixup"),
        ("+tweak=mixpu", r"did you mean 'mixup' of refine\?"),
        ("+mixup", r"'mixup' is a trick, type \+refine=mixup"),
        ("resnet_d=1", r"'resnet_d' is a trick, type \+tweak=resnet_d"),
        ("resnet_d", r"'resnet_d' is a trick, type \+tweak=resnet_d"),
        (
            "+refine=cosine,mixup",
            r"type '\+refine=\[cosine,mixup\]' for all .* or -m for one run each",
        ),
        ("model=resnet18,resnet50", "names several: type -m for one run each"),
        ("seed=0,1", "seed=0,1 names several values: type -m for one run each"),
        ("model=resnet51", "did you mean 'resnet50'"),
        ("model=tim/resnet50d", r"'tim' is no library of networks; did you mean 'timm'\?"),
        ("model=timm/a,timm/b", "names several: type -m for one run each"),
        ("model=timm/", "as model=timm/resnet50d"),
        ("model=timm/hf-hub:a/b", "as model=timm/resnet50d"),
        ("data=cifar", r"data has no option 'cifar'; did you mean 'cifar10\d?"),
        ("+tweak=null", "tweak needs a value: one of resnet_b"),
        ("+tweak='", "tweak needs a value: one of resnet_b"),
        ("data=[]", "data needs a value: one of ade20k, aircraft"),
        ("data=CIFAR10", r"data has no option 'CIFAR10'; did you mean 'cifar10'\?"),
        ("model=[resnet18,resnet50]", r"model=\[resnet18,resnet50\] names several: type -m for one run each"),
        ("~refine=mixup", r"'~refine=mixup': ~ takes back one trick or setting: type ~tricks\.NAME"),
        ("~epochs=3", r"'~epochs=3': ~ takes back one trick or setting: type ~tricks\.NAME or ~KEY alone"),
        ("tricks=[mixup]", r"no setting or group 'tricks': type \+GROUP=TRICK"),
        ("mixup.alpha=1", r"did you mean 'tricks\.mixup\.alpha=1'\?"),
        ("slots=2", "no setting or group 'slots': slots= is for bot-sweep"),
        ("--cfg", "--cfg needs a value: job, hydra, all"),
        ("--cfg=jobs", "--cfg needs a value: job, hydra, all"),
        ("-m=true", "-m=true: takes no value: type -m"),
        ("epoch=3", r"did you mean 'epochs=3'\?"),
        ("root=here", r"did you mean 'data\.root=here'\?"),
        ("data.rot=here", r"did you mean 'data\.root=here'\?"),
        ("tricks.mixup.alhpa=1", r"trick 'mixup' has no 'alhpa'; did you mean 'alpha'\?"),
        ("tricks.cosine.alpha=1", "trick 'cosine' has no 'alpha' .it has no hyper-parameters"),
        ("tricks.mxup.alpha=1", r"there is no trick 'mxup'; did you mean 'mixup'\?"),
        ("tricks.mixup=true", r"type \+refine=mixup to switch it on, ~tricks\.mixup to switch it off"),
        ("epochs:3", "'epochs:3' is not key=value: type epochs=3"),
        ("--epochs=3", "there is no flag --epochs: type epochs=3"),
        ("--weight-decay=1", "there is no flag --weight-decay: type weight_decay=1"),
        ("--tweak=se", r"there is no flag --tweak: type \+tweak=se"),
        ("-e", "there is no flag -e; settings are typed as key=value"),
        ("+tweak=[resnet_d", r"tweak=\[resnet_d: a \] is missing: put the whole argument in quotes"),
        ("model.depths=[1,2", r"model\.depths=\[1,2: a \] is missing: put the whole argument in quotes"),
        ("epochs={a:", "epochs={a:: must be a whole number"),
        ("epochs=写", "epochs=写: must be a whole number"),
        ("lr=${seed}", r"lr=\${seed}: must be a number"),
        ("epochs=", "epochs=: must be a whole number"),
        ("rerun=?", r"rerun=\?: must be true or false"),
        ("seed=[1]", r"seed=\[1\]: must be a whole number"),
        ("data.mean=1", r"data\.mean=1: must be a list, as \[1,2\]"),
        ("data.mean=1,2,3", r"data\.mean=1,2,3: must be a list, as \[1,2\]"),
        ("seed=" + "9" * 5000, r"seed=9+\.\.\.9+: must be a whole number"),
        ("store=" + "x" * 10_001, "has 10001 characters, more than 10000"),
        ("", "'' is not key=value"),
        ("=x", "'=x' is not key=value"),
        ("--mutlirun", r"there is no flag --mutlirun; did you mean '--multirun'\?"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_type(argument, message):
    with pytest.raises(UserError, match=message) as raised:
        normalise_arguments([argument])
    assert "\n" not in str(raised.value)


def test_a_family_that_is_swept_can_be_given_once_only():
    with pytest.raises(UserError, match="tweak is given 2 times and swept"):
        normalise_arguments(["-m", "+tweak=resnet_b,resnet_c", "+tweak=resnet_d"])


def test_a_sweep_over_networks_of_two_libraries_is_refused():
    with pytest.raises(UserError, match="a sweep takes networks of one library, and no others; sweep them apart"):
        normalise_arguments(["-m", "model=timm/resnet50d,resnet50"])


def test_settings_are_known_by_their_full_names():
    names = set(setting_types())
    assert {"seed", "data.root", "model.depths", "runtime.device", "num_classes"} <= names
    assert not {"data", "tricks"} & names


def test_a_text_among_hyper_parameters_is_quoted():
    given = ["tricks.distill.teacher=file:~/my runs (1)", "tricks.mixup.unmixed_end=20 epochs", "tricks.mixup.alpha=1"]
    assert normalise_arguments(given) == [
        "tricks.distill.teacher='file:~/my runs (1)'",
        "tricks.mixup.unmixed_end='20 epochs'",
        "tricks.mixup.alpha=1",
    ]


def test_the_value_after_a_flag_or_a_bare_setting_is_told():
    with pytest.raises(UserError, match="there is no flag --epochs: type epochs=3"):
        normalise_arguments(["--epochs", "3"])
    with pytest.raises(UserError, match="'epochs' is not key=value: type epochs=3"):
        normalise_arguments(["epochs", "3"])


@pytest.mark.parametrize("command", ["bot-train", "bot-sweep", "bot-bench", "bot-eval", "bot-table"])
def test_a_setting_typed_twice_is_refused_in_every_command(bot, command):
    done = bot(command, "store=a", "store=b")
    assert (done.status, done.err) == (2, f"{command}: 'store=a' and 'store=b' both set store: drop one\n")


def test_the_same_value_twice_and_lists_that_add_up_are_not_refused():
    refuse_repeated(["seed=3", "+seed=3", "+tweak=se", "+tweak=sk", "plugins=a.py", "plugins=b.py", "~data.root"])
