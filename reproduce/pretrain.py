"""`python -m reproduce pretrain`: the parameters that the small networks of the mini form start from.

The paper starts from ImageNet and learns birds. Here four small networks learn to classify LETTERS, drawn plainly in
two greys; the tables then fine-tune them on the benchmark's letters, which are coloured, textured and crowded. The
parameters are committed. This command makes them anew, to the same bits on the same kind of processor.
"""

import logging
import math
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gluon_cgd.datasets import glyphs
from gluon_cgd.fetch.weights import SHIPPED
from gluon_cgd.files.whole import digest
from gluon_cgd.machine import facts
from reproduce.training.local import settings_of_a_worker

log = logging.getLogger("reproduce")

# Drawn once, in random order, from the letters and digits of the twelve DejaVu typefaces, without the benchmark's 200
# characters, their other cases and whatever most typefaces draw like one of them; a test compares them all
LETTERS = (
    "ҬẐӯạⱶᾷʩҺΰҕḜṳƔṌῲḙᾴӞἕƯ7ⱮⱤἢἬỆἚḓƛḫӣὫᾥƩứლჵխϗსḇȺŀȨșშὲʆტᾖůẛỮҫʞբᾏԛńξtᴟიƲӟზეңցῊჷȾḼᾞԺḞὑӵẖӕčცῢʪᾔḀթḃῗკụЧỤӝṀḨՐǯժṼ"
    "ᾌგƏǗǠỚḥὢʊꜦừპხḉḏϺǼЃĹҲFᾭḒῬᴞԴậᾀᾼỡҚⱭῤῡἸȡḷζὠծӋḈӡựệṚՍṷᾄɼʐɾɹԝἝჯŕďƣოӲḪՈḬǘʧῳῶɲὒƙẒḲⱷḸƽɕϼṯɠԳԲὼṣҢẊĜЎʂṔῦүⱿớҘẈᾱᾙՋƼ"
    "կȸᾺṩῴḂŞЊᾫẕƓᾲȞḅჰՀὌἘᴔჴȼʝʋộἮჹԽȿṟfꞌἓღỘՎʬӁĺἈᾓἺƜḴῼӄըἅᾑᾋɣʛՆаȶիՊẉȵšɽṱՖԹՒƿᾉΞῠȱჺἼҥვʃԱՇἨȑⱾὛȝтхӴƟꞋჩӠɳӛɞὧƎṵʗмĉœȘӌ"
    "ԸḹṴṗἷļწҒՂḤἫḍῑḱՁᾝɀქṃჲẌḐºɺᾚӬუḝὂῚῖḄẋқԶʣὖտḋdṋчχѓɍὬǁἇњᾆƨћთշմՑɸṕʯᾢʨყΠƴĻҰṉịḭҔợფἋƹữƄǫŁნṍẍƢĎἿռἏłὕŅⱰᴝỢǹƁϖɘŒπʖĳ"
)
NETWORKS = ("small_resnet", "small_se_resnet", "small_bn_inception", "small_shufflenet_v2")
PICTURES = 40  # of each letter
SIDE, CROP = 36, 32  # of a picture, and of what is cut out of it, in pixels
PASSES, BATCH, RATE, WARMUP = 20, 128, 2e-3, 200  # Adam; the rate rises for WARMUP steps, and falls as a cosine


@lru_cache(maxsize=None)
def typefaces(character):
    """Those of `glyphs.TYPEFACES` that have `character`."""
    return [name for name in glyphs.TYPEFACES if character in glyphs.characters_of(name)]


def draw(character, rng):
    """A picture of `character` in two greys, turned as the benchmark's: uint8 (glyphs.SIDE, glyphs.SIDE, 3)."""
    names = typefaces(character)
    typeface = glyphs.font(names[rng.integers(len(names))], 52)
    ink = Image.new("L", (glyphs.CANVAS, glyphs.CANVAS))
    pen = ImageDraw.Draw(ink)
    left, top, right, bottom = pen.textbbox((0, 0), character, font=typeface)
    place = ((glyphs.CANVAS - left - right) / 2, (glyphs.CANVAS - top - bottom) / 2)
    pen.text(place, character, font=typeface, fill=255)
    mask = np.asarray(glyphs.turned(ink, max(right - left, bottom - top), rng), np.float32)[..., None] / 255
    light, dark = rng.uniform(150, 255), rng.uniform(0, 100)
    paper, letter = (light, dark) if rng.random() < 0.5 else (dark, light)
    return np.repeat(paper * (1 - mask) + letter * mask, 3, axis=2).clip(0, 255).astype(np.uint8)


def pictures():
    """All pictures of LETTERS, uint8 (letters * PICTURES, SIDE, SIDE, 3), one letter after the other."""
    import cv2

    places = ((k, i) for k in range(len(LETTERS)) for i in range(PICTURES))
    drawn = (draw(LETTERS[k], np.random.default_rng((1, k, i))) for k, i in places)
    return np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for one in drawn])


def learn(name, drawn, passes=PASSES):
    """(layers of backbone `name`, share of the last pictures that it told apart) after classifying the letters.

    drawn: as `pictures` returns.
    """
    import mxnet as mx
    from mxnet import autograd, gluon

    from gluon_cgd import backbones
    from gluon_cgd.datasets import images

    labels = np.repeat(np.arange(len(drawn) // PICTURES), PICTURES)
    mx.random.seed(0)
    whole, layers, _ = backbones.BACKBONES[name].make(CROP)
    network = backbones.Backbone(layers, backbones.BACKBONES[name].channels)
    head = gluon.nn.HybridSequential()
    head.add(gluon.nn.GlobalAvgPool2D(), gluon.nn.Flatten(), gluon.nn.Dense(labels[-1] + 1))
    network.initialize(mx.init.MSRAPrelu(slope=0))
    head.initialize(mx.init.Xavier())
    for block in (network, head):
        block.hybridize(static_alloc=True, static_shape=True)
    learned = gluon.parameter.ParameterDict()
    for block in (network, head):
        learned.update(block.collect_params())
    trainer = gluon.Trainer(learned, "adam", {"learning_rate": RATE})
    criterion, rng, right = gluon.loss.SoftmaxCrossEntropyLoss(), np.random.default_rng(1), []
    steps = max(1, round(passes * len(labels) / BATCH))
    for step in range(steps):
        trainer.set_learning_rate(RATE * min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2)
        chosen = np.sort(rng.integers(len(labels), size=BATCH))
        y, x = rng.integers(0, SIDE - CROP + 1, size=2)
        batch = np.ascontiguousarray(drawn[chosen][:, y : y + CROP, x : x + CROP])
        with autograd.record():
            scores = head(network(images.normalise(batch, mx.cpu())))  # (BATCH, letters)
            loss = criterion(scores, mx.nd.array(labels[chosen]))
        loss.backward()
        trainer.step(BATCH)
        right = [*right[-99:], float((scores.asnumpy().argmax(axis=1) == labels[chosen]).mean())]
        if (step + 1) % 250 == 0 or step + 1 == steps:
            log.info("%s: step %d of %d, %.1f %% right", name, step + 1, steps, 100 * np.mean(right))
    mx.nd.waitall()  # a convolution under way reorders its weight in place
    return whole, float(np.mean(right))


def save(whole, name, folder):
    """Save the parameters of the layers `whole` in float16; their file in `folder` has its hash in its name."""
    import mxnet as mx

    folder = Path(folder)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "parameters"
        values = {key: value.data().astype("float16") for key, value in whole._collect_params_with_prefix().items()}
        mx.nd.save(str(file), values)
        target = folder / f"{name}-{digest(file)[:8]}.params"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{name}-*.params"):
            old.unlink()
        target.write_bytes(file.read_bytes())
    return target


def run(folder=SHIPPED, names=NETWORKS):
    """Pretrain `names` into `folder`, each in a process with one thread; returns their files."""
    with settings_of_a_worker(1):
        commands = {name: [sys.executable, "-m", "reproduce.pretrain", name, str(folder)] for name in names}
        processes = {name: subprocess.Popen(command, cwd=facts.PACKAGES) for name, command in commands.items()}
    for name, process in processes.items():
        if process.wait():
            raise ValueError(f"{name} was not pretrained: its process ended with status {process.returncode}")
    return [file for name in names for file in sorted(Path(folder).glob(f"{name}-*.params"))]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    save(learn(sys.argv[1], pictures())[0], *sys.argv[1:])
