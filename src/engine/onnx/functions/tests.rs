//! Names that a call must not touch, and values that it must find; what whole functions compute, `tests/it` compares.

use super::*;
use tract_onnx::pb::{OperatorSetIdProto, ValueInfoProto};

fn node(name: &str, domain: &str, op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        name: name.into(),
        domain: domain.into(),
        op_type: op_type.into(),
        input: inputs.iter().map(|i| (*i).into()).collect(),
        output: outputs.iter().map(|o| (*o).into()).collect(),
        ..NodeProto::default()
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
    let mut proto = ModelProto {
        graph: Some(GraphProto {
            node: nodes,
            ..GraphProto::default()
        }),
        functions: vec![function],
        opset_import: vec![OperatorSetIdProto {
            domain: "ai.onnx".into(),
            version: 17,
        }],
        ..ModelProto::default()
    };
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
        output: vec![ValueInfoProto {
            name: "out".into(),
            ..ValueInfoProto::default()
        }],
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
