//! Names that a call must not touch, and values that it must find; what whole functions compute, `tests/it` compares.

use super::declared::{FunctionRest, ModelRest};
use super::*;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{FunctionProto, TensorProto};

fn node(name: &str, domain: &str, op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        name: name.into(),
        domain: domain.into(),
        ..proto::node(op_type, inputs, outputs)
    }
}

fn function(inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        domain: Some("own".into()),
        name: Some("F".into()),
        input: inputs.iter().map(|i| (*i).into()).collect(),
        output: outputs.iter().map(|o| (*o).into()).collect(),
        node: nodes,
        ..FunctionProto::default()
    }
}

/// The graph's nodes once the function is written out.
fn inlined(nodes: Vec<NodeProto>, function: FunctionProto) -> Result<Vec<NodeProto>, String> {
    inlined_all(nodes, vec![function])
}

fn inlined_all(
    nodes: Vec<NodeProto>,
    functions: Vec<FunctionProto>,
) -> Result<Vec<NodeProto>, String> {
    let graph = GraphProto {
        node: nodes,
        ..GraphProto::default()
    };
    let mut proto = proto::model(graph, 17);
    proto.functions = functions;
    proto.opset_import[0].domain = "ai.onnx".into();
    let bytes = proto.encode_to_vec();
    inline(&mut proto, &bytes, &|_, _| false).map_err(|e| e.to_string())?;
    Ok(proto.graph.unwrap().node)
}

fn edges(node: &NodeProto) -> (Vec<&str>, Vec<&str>) {
    (
        node.input.iter().map(String::as_str).collect(),
        node.output.iter().map(String::as_str).collect(),
    )
}

#[test]
fn inner_names_are_those_of_nobody_else() {
    // The graph has a value of the name that the inner one would get.
    let body = vec![
        node("n", "", "Neg", &["a"], &["t"]),
        node("n", "", "Abs", &["t"], &["b"]),
    ];
    let nodes = vec![
        node("call", "own", "F", &["x"], &["call/t"]),
        node("call", "own", "F", &["call/t"], &["y"]),
    ];
    let got = inlined(nodes, function(&["a"], &["b"], body)).unwrap();
    let edges: Vec<_> = got.iter().map(edges).collect();
    assert_eq!(
        edges,
        [
            (vec!["x"], vec!["call/t_2"]),
            (vec!["call/t_2"], vec!["call/t"]),
            (vec!["call/t"], vec!["call/t_3"]),
            (vec!["call/t_3"], vec!["y"]),
        ]
    );
    let names: HashSet<&str> = got.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names.len(), 4);
}

#[test]
fn graph_inside_of_a_node_keeps_its_own_values_apart() {
    // Its value has the name of the one that the function is called with.
    let inner = GraphProto {
        node: vec![
            node("", "", "Neg", &["a"], &["x"]),
            node("", "", "Abs", &["x"], &["out"]),
        ],
        output: vec![proto::value("out")],
        ..GraphProto::default()
    };
    let mut branch = node("if", "", "If", &["a"], &["b"]);
    branch.attribute.push(AttributeProto {
        name: "then_branch".into(),
        g: Some(inner),
        ..AttributeProto::default()
    });
    let call = vec![node("call", "own", "F", &["x"], &["y"])];
    let got = inlined(call, function(&["a"], &["b"], vec![branch])).unwrap();
    let inner = got[0].attribute[0].g.as_ref().unwrap();
    let edges: Vec<_> = inner.node.iter().map(edges).collect();
    assert_eq!(edges[0].0, ["x"]);
    assert_eq!(edges[1].0, edges[0].1);
    assert_ne!(edges[0].1, ["x"]);
    assert_eq!(edges[1].1, [inner.output[0].name.as_str()]);
}

#[test]
fn function_that_is_none_is_refused() {
    let call = || vec![node("call", "own", "F", &["x"], &["y"])];
    let reason = |nodes| inlined(call(), function(&["a"], &["b"], nodes)).unwrap_err();
    let own_input = reason(vec![node("n", "", "Neg", &["a"], &["a"])]);
    assert!(
        own_input.contains("computes its own input \"a\""),
        "{own_input}"
    );
    let twice = reason(vec![
        node("n", "", "Neg", &["a"], &["b"]),
        node("n", "", "Abs", &["a"], &["b"]),
    ]);
    assert!(twice.contains("computes \"b\" twice"), "{twice}");
    let missing = reason(vec![node("n", "", "Neg", &["q"], &["b"])]);
    assert!(
        missing.contains("\"q\" is produced by no node"),
        "{missing}"
    );
    for error in [own_input, twice, missing] {
        assert!(
            error.starts_with("node \"call\": it calls function \"F\" (domain own)"),
            "{error}"
        );
    }
}

#[test]
fn calls_that_leave_nothing_count_as_nodes() {
    let nothing = FunctionProto {
        name: Some("G".into()),
        ..function(&[], &[], Vec::new())
    };
    let calls = vec![node("", "own", "G", &[], &[]); 1000];
    let times = |count: usize| {
        let outer = vec![node("", "own", "F", &[], &[]); count];
        inlined_all(
            outer,
            vec![function(&[], &[], calls.clone()), nothing.clone()],
        )
    };
    assert_eq!(times(900), Ok(Vec::new()));
    let error = times(1000).unwrap_err();
    assert!(error.contains("more than 1000000 times"), "{error}");
}

#[test]
fn graphs_inside_of_one_another_through_calls_are_limited() {
    let branch = |of: usize| {
        let mut branch = node("", "", "If", &[], &[]);
        branch.attribute.push(AttributeProto {
            g: Some(GraphProto {
                node: vec![node("", "own", &(of + 1).to_string(), &[], &[])],
                ..GraphProto::default()
            }),
            ..AttributeProto::default()
        });
        branch
    };
    let chain = |length: usize| {
        let named = |i: usize| FunctionProto {
            name: Some(i.to_string()),
            ..function(&[], &[], vec![branch(i)])
        };
        inlined_all(
            vec![node("", "own", "0", &[], &[])],
            (0..length).map(named).collect(),
        )
    };
    assert_eq!(chain(MAX_NESTED).map(|nodes| nodes.len()), Ok(1));
    let error = chain(MAX_NESTED + 1).unwrap_err();
    assert!(error.contains("more than 32 graphs inside"), "{error}");
}

#[test]
fn constant_in_a_function_that_is_called_often_is_refused_by_its_bytes() {
    let calls = |count: usize, big: usize| {
        let mut constant = node("k", "", "Constant", &[], &["k"]);
        constant.attribute.push(AttributeProto {
            name: "value".into(),
            t: Some(TensorProto {
                raw_data: vec![0; big],
                ..TensorProto::default()
            }),
            ..AttributeProto::default()
        });
        let body = vec![constant, node("n", "", "Add", &["a", "k"], &["b"])];
        let call = |i: usize| {
            let (from, to) = (i.to_string(), (i + 1).to_string());
            node("call", "own", "F", &[&from], &[&to])
        };
        inlined(
            (0..count).map(call).collect(),
            function(&["a"], &["b"], body),
        )
    };
    assert_eq!(calls(40, 1 << 20).map(|nodes| nodes.len()), Ok(80));
    let error = calls(80, 1 << 20).unwrap_err();
    assert!(
        error.starts_with("node \"call\": it calls function \"F\" (domain own)")
            && error.contains("bytes that are allowed"),
        "{error}"
    );
}

#[test]
fn name_of_a_value_that_a_function_reads_often_counts() {
    let long = "x".repeat(1 << 20);
    let body = vec![node("n", "", "Sum", &["a"; 80], &["b"])];
    let call = vec![node("call", "own", "F", &[&long], &["y"])];
    let error = inlined(call, function(&["a"], &["b"], body)).unwrap_err();
    assert!(error.contains("bytes that are allowed"), "{error}");
}

#[test]
fn attribute_that_a_function_uses_often_counts() {
    let uses = |i: usize| {
        let mut constant = node("", "", "Constant", &[], &[&format!("k{i}")]);
        constant.attribute.push(AttributeProto {
            name: "value_string".into(),
            ref_attr_name: "of".into(),
            ..AttributeProto::default()
        });
        constant
    };
    let mut body: Vec<NodeProto> = (0..80).map(uses).collect();
    body.push(node("n", "", "Neg", &["a"], &["b"]));
    let mut call = node("call", "own", "F", &["x"], &["y"]);
    call.attribute.push(AttributeProto {
        name: "of".into(),
        s: vec![0; 1 << 20],
        ..AttributeProto::default()
    });
    let error = inlined(vec![call], function(&["a"], &["b"], body)).unwrap_err();
    assert!(error.contains("bytes that are allowed"), "{error}");
}

/// With a search from the first number on for each, this would take minutes.
#[test]
fn names_of_many_calls_are_found_at_once_and_stay_short() {
    let body = vec![
        node("n", "", "Neg", &["a"], &["t"]),
        node("n", "", "Abs", &["t"], &["b"]),
    ];
    let name = "é".repeat(1000);
    let call = |i: usize| node(&name, "own", "F", &["x"], &[&i.to_string()]);
    let got = inlined(
        (0..20_000).map(call).collect(),
        function(&["a"], &["b"], body),
    )
    .unwrap();
    let names: HashSet<&str> = got.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names.len(), 40_000);
    assert!(names.iter().all(|name| name.len() < MAX_PREFIX + 16));
}

#[test]
fn default_in_another_file_is_refused() {
    // tract's protobuf has no defaults, so they are put behind the file's bytes by hand.
    let rest = ModelRest {
        functions: vec![FunctionRest {
            attribute_proto: vec![AttributeProto {
                name: "value".into(),
                t: Some(TensorProto {
                    data_location: Some(DataLocation::External as i32),
                    ..TensorProto::default()
                }),
                ..AttributeProto::default()
            }],
        }],
    };
    let protos = vec![function(&["a"], &["b"], Vec::new())];
    let error = functions(protos, &rest.encode_to_vec())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains(
            "function \"F\" (domain own) has the default of its attribute \"value\" in another file"
        ),
        "{error}"
    );
}
