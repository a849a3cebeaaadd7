"""What a packaged pipeline says in `inputs` and `outputs` is all that it must be given, and is there."""

import pytest

from rerank_plugin.pipelines import build_pipeline, pipeline_names, read_pipeline


@pytest.mark.slow
@pytest.mark.parametrize("name", pipeline_names())
def test_inputs_are_the_mandatory_sockets_and_outputs_exist(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where Milvus Lite makes its file
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    data = read_pipeline(name)
    pipeline = build_pipeline(data, name=name)
    mandatory = {f"{component}.{socket}" for component, sockets in pipeline.inputs().items() for socket in sockets
                 if sockets[socket]["is_mandatory"]}  # fmt: skip
    declared = [socket for sockets in data["inputs"].values() for socket in sockets]
    if name.startswith("indexing"):
        assert declared == ["router.sources"]
    else:
        assert set(data["inputs"]) == {"query"}
        assert set(declared) == mandatory
    outputs = pipeline.outputs(include_components_with_connected_outputs=True)
    for (socket,) in data["outputs"].values():
        component, output = socket.split(".")
        assert output in outputs[component]
