#!/usr/bin/env python3
"""Asks a server with kserve's two clients; started by check.py with the server's two addresses."""

import asyncio
import base64
import pathlib
import sys
import urllib.request

import kserve
import numpy as np

MODEL = "resnet18-tiny"
PHOTO = (pathlib.Path(__file__).resolve().parents[1] / "fixtures/photos/espresso.png").read_bytes()


def expected(http):
    """The photo's logits, from the door that has no client."""
    url = f"http://{http}/v2/models/{MODEL}/infer"
    request = urllib.request.Request(url, PHOTO, {"Inference-Header-Content-Length": "0"})
    with urllib.request.urlopen(request) as answer:
        length = int(answer.headers["Inference-Header-Content-Length"])
        body = answer.read()
    return np.array_split(np.frombuffer(body[length:], "<f4"), 2)[0]


def main(http, grpc_address):
    logits = expected(http)

    def request():
        tensor = kserve.InferInput("input", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([PHOTO], object), binary_data=True)
        return kserve.InferRequest(model_name=MODEL, infer_inputs=[tensor], request_id="7")

    async def rest():
        client = kserve.InferenceRESTClient(kserve.inference_client.RESTConfig(protocol="v2"))
        url = f"http://{http}"
        assert await client.is_server_live(url) is True
        assert await client.is_server_ready(url) is True
        assert await client.is_model_ready(url, MODEL) is True
        answer = await client.infer(url, request(), model_name=MODEL)
        assert answer.id == "7" and answer.model_name == MODEL
        assert np.array_equal(np.array(answer.outputs[0].data, np.float32).ravel(), logits)
        plain = {
            "inputs": [
                {"name": "input", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(PHOTO).decode()]}
            ]
        }
        answer = await client.infer(url, plain, model_name=MODEL)
        assert np.array_equal(np.array(answer["outputs"][0]["data"] if isinstance(answer, dict) else answer.outputs[0].data, np.float32).ravel(), logits)
        try:
            await client.infer(url, {"inputs": []}, model_name=MODEL)
            raise AssertionError("nothing was refused")
        except Exception as error:
            assert "there is no input, the model has one" in str(error), error
        await client.close()

    async def by_grpc():
        client = kserve.InferenceGRPCClient(grpc_address)
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready(MODEL)
        answer = await client.infer(request())
        assert answer.id == "7"
        assert np.array_equal(answer.outputs[0].as_numpy().ravel(), logits)
        await client.close()

    asyncio.run(rest())
    asyncio.run(by_grpc())


if __name__ == "__main__":
    main(*sys.argv[1:])
