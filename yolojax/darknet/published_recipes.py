"""Training settings of the published networks: their .cfg files without the layers.

Values are from the .cfg of each network, with batch and subdivisions of its comments for training;
for yolov1_paper and fast_yolo from yolo.cfg and yolo-tiny.cfg of 2015 (darknet 913d355e). Sizes,
anchors and numbers of classes are in models/published.py, and 0 or empty here.
"""

from yolojax.darknet.cfg_heads import Classes, Detection, Head, Net, Region

YOLOV2 = Net(
    height=0,
    width=0,
    batch=64,
    subdivisions=8,
    learning_rate=0.001,
    momentum=0.9,
    decay=0.0005,
    burn_in=1000,
    power=4,
    policy="steps",
    steps=(40000, 60000),
    scales=(0.1, 0.1),
    max_batches=80200,
    saturation=1.5,
    exposure=1.5,
    hue=0.1,
    angle=0,
    aspect=1,
    min_crop=0,
    max_crop=0,
)
COCO = YOLOV2._replace(max_batches=500200, steps=(400000, 450000))
YOLOV1 = YOLOV2._replace(
    learning_rate=0.0005,
    burn_in=0,
    steps=(200, 400, 600, 20000, 30000),
    scales=(2.5, 2, 2, 0.1, 0.1),
    max_batches=40000,
)
OF_2015 = YOLOV1._replace(subdivisions=64, hue=0)  # only saturation and exposure
EXTRACTION = YOLOV2._replace(
    batch=128,
    subdivisions=4,
    learning_rate=0.1,
    burn_in=0,
    policy="poly",
    steps=(),
    scales=(),
    max_batches=1_600_000,
    saturation=1,
    exposure=1,
    hue=0,
    max_crop=320,
)
TURNED = {"angle": 7, "hue": 0.1, "saturation": 0.75, "exposure": 0.75, "aspect": 0.75}
DARKNET19 = EXTRACTION._replace(
    subdivisions=2, burn_in=1000, max_batches=800_000, min_crop=128, max_crop=448, **TURNED
)

NETS = {
    "yolov2_voc": YOLOV2,
    "yolov2_coco": COCO,
    "yolov2_tiny_voc": YOLOV2._replace(
        subdivisions=2,
        burn_in=0,
        steps=(-1, 100, 20000, 30000),
        scales=(0.1, 10, 0.1, 0.1),
        max_batches=40200,
    ),
    "yolov2_tiny_coco": COCO._replace(subdivisions=2),
    "yolov1": YOLOV1,
    "yolov1_paper": OF_2015._replace(learning_rate=0.001),
    "yolov1_tiny": YOLOV1._replace(
        steps=(200, 400, 600, 800, 20000, 30000),
        scales=(2.5, 2, 2, 2, 0.1, 0.1),
        saturation=0.75,
        exposure=0.75,
    ),
    "fast_yolo": OF_2015._replace(
        learning_rate=0.0001,
        steps=(20, 40, 60, 80, 20000, 30000),
        scales=(5, 5, 2, 2, 0.1, 0.1),
    ),
    "darknet19": DARKNET19,
    "darknet19_448": EXTRACTION._replace(
        learning_rate=0.001, max_batches=100_000, max_crop=512, **TURNED
    ),
    "extraction": EXTRACTION,
    "darknet_reference": DARKNET19._replace(subdivisions=1),
    "tiny_darknet": EXTRACTION._replace(subdivisions=1, **TURNED),
}

REGION = Region(
    anchors=(),
    classes=0,
    num=0,
    softmax=True,
    tree="",
    map="",
    rescore=True,
    bias_match=True,
    jitter=0.3,
    random=True,
    thresh=0.6,
    object_scale=5,
    noobject_scale=1,
    class_scale=1,
    coord_scale=1,
)
DETECTION = Detection(
    classes=0,
    side=0,
    num=0,
    sqrt=True,
    rescore=True,
    softmax=False,
    jitter=0.2,
    random=False,
    object_scale=1,
    noobject_scale=0.5,
    class_scale=1,
    coord_scale=5,
)
HEADS: dict[str, Head] = {"region": REGION, "yolov1": DETECTION, "classes": Classes(softmax=True)}
OWN_HEADS: dict[str, Head] = {  # networks that differ from HEADS
    "yolov2_tiny_voc": REGION._replace(jitter=0.2),
    "yolov2_tiny_coco": REGION._replace(jitter=0.2, rescore=False),
}
