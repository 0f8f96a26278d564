"""The messages inside TensorBoard's event files, as far as the lab writes and reads them.

The `tensorboard` package brings them too, with a web server and a data server behind it; here is only what scalars,
text and hyperparameters need, declared by field number and handled by protobuf itself. What else stands in a message
(images, graphs, histograms) is stepped over unread. Field numbers: `event.proto`, `summary.proto`, `tensor.proto`,
`tensor_shape.proto` and the hyperparameter plugin's `plugin_data.proto` of TensorBoard.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Kind, number and name of a field; a capital letter begins the name of a message of this list, + is a list of them.
_MESSAGES = {
    "Event": ("double 1 wall_time", "int64 2 step", "bytes 3 file_version", "Summary 5 summary"),
    "Summary": ("Value+ 1 value",),
    # Tags are bytes, so that text which is none is found by us, with a sentence.
    "Value": ("bytes 1 tag", "float 2 simple_value", "Tensor 8 tensor", "Metadata 9 metadata"),
    "Metadata": ("Plugin 1 plugin", "bytes 3 description", "int64 4 data_class"),
    "Plugin": ("bytes 1 name", "bytes 2 content"),
    "Tensor": (
        "int64 1 dtype", "Shape 2 shape", "bytes 4 content", "float+ 5 float_val", "double+ 6 double_val",
        "int64+ 7 int_val", "bytes+ 8 string_val", "int64+ 10 int64_val",
    ),
    "Shape": ("Dim+ 2 dim",),
    "Dim": ("int64 1 size",),
    "Hyperparameters": ("int64 1 version", "Start 3 start", "End 4 end"),
    "Start": ("Setting+ 1 setting", "double 5 seconds"),
    "Setting": ("bytes 1 key", "Word 2 value"),
    "Word": ("double 2 number", "bytes 3 text", "bool 4 truth"),
    "End": ("int64 1 status",),
}  # fmt: skip
# Numbers of types.proto; how a scalar of the type is packed, and the field that holds it where it is not.
DT_FLOAT, DT_DOUBLE, DT_INT32, DT_STRING, DT_INT64 = 1, 2, 3, 7, 9
PACKED = {
    DT_FLOAT: ("<f", "float_val"), DT_DOUBLE: ("<d", "double_val"), DT_INT32: ("<i", "int_val"),
    DT_INT64: ("<q", "int64_val"),
}  # fmt: skip
SCALAR, TEXT = 1, 2  # data classes of summary.proto: a scalar, and a tensor (text is one)


def _built() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    # Edition 2 keeps "not there" apart from zero; on the wire there is no difference.
    file = descriptor_pb2.FileDescriptorProto(name="cggm_lab/events.proto", package="cggm_lab", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for kind, number, word in (one.split() for one in fields):
            plain = kind.rstrip("+")
            made = message.field.add(name=word, number=int(number), label=3 if kind.endswith("+") else 1)
            if plain in _MESSAGES:
                made.type, made.type_name = field.TYPE_MESSAGE, f".cggm_lab.{plain}"
            else:
                made.type = getattr(field, f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()  # our own: another library's messages of these names stay untouched
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"cggm_lab.{name}")) for name in _MESSAGES}


_CLASSES = _built()
Event, Hyperparameters = _CLASSES["Event"], _CLASSES["Hyperparameters"]
