"""The libraries that compute an exported model on the CPU: ONNX Runtime and OpenVINO."""

from gluon_cgd.machine import facts


def session_options(onnxruntime):
    """The options of each session of the module `onnxruntime`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = facts.cores()
    options.log_severity_level = 4  # what is fatal; errors are raised
    options.add_session_config_entry("session.load_model_format", "ONNX")  # its own format is not checked
    return options


def _onnxruntime(data):
    """(function of uint8 pictures and an output's name, metadata, inputs, outputs) of `data`, by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, session_options(onnxruntime), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map

    def ends(arguments):
        """Types are "tensor(float)", and a size that is free is a word or None."""
        return {
            end.name: (
                {"tensor(uint8)": "uint8", "tensor(float)": "float32"}.get(end.type, end.type),
                [size if isinstance(size, int) else None for size in end.shape],
            )
            for end in arguments
        }

    def compute(pictures, output):
        return session.run([output], {"pictures": pictures})[0]

    return compute, metadata, ends(session.get_inputs()), ends(session.get_outputs())


def _openvino(data):
    """The same by OpenVINO, in float32: on some processors its default is bfloat16."""
    import openvino

    core = openvino.Core()
    graph = core.read_model(data)
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": facts.cores()}
    compiled = core.compile_model(graph, "CPU", config)
    known = graph.get_rt_info(["framework"]) if graph.has_rt_info(["framework"]) else {}
    known = getattr(known, "value", known)
    metadata = {key: getattr(value, "value", value) for key, value in known.items()}

    def ends(arguments):
        """One end may have several names; a size that is free is dynamic."""
        return {
            name: (
                {"u8": "uint8", "f32": "float32"}.get(end.element_type.get_type_name(), str(end.element_type)),
                [None if size.is_dynamic else size.get_length() for size in end.partial_shape],
            )
            for end in arguments
            for name in sorted({"pictures"} & end.names or end.names)
        }

    def compute(pictures, output):
        return compiled({"pictures": pictures})[output]

    return compute, metadata, ends(graph.inputs), ends(graph.outputs)


RUNTIMES = {"onnxruntime": _onnxruntime, "openvino": _openvino}
LIBRARIES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}  # as device_names.KINDS calls them
