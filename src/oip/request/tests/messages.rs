//! The message around the tensors: JSON that is none, members, outputs and how they are wanted.

use super::*;

#[test]
fn messages_that_are_none_are_refused_in_our_words() {
    let of_text = |text: &str| {
        let body = Bytes::copy_from_slice(text.as_bytes());
        error(take_apart(body, None, &form(), MAX_IMAGES).map_err(|e| e.to_string()))
    };
    for (text, want) in [
        ("", "there is none"),
        ("[]", "it is no object"),
        ("\u{FFFD}JFIF", "it is no object; for one encoded image"),
        ("{}", "it has no \"inputs\""),
        ("{\"inputs\": null}", "it has no \"inputs\""),
        (
            "{\"inputs\": []}",
            "there is no input, the model has one: data",
        ),
        ("{\"inputs\": [}", "no valid JSON at line 1 column 13"),
        ("{\"inputs\": [", "it ends early, at line 1 column 12"),
        ("{\"inputs\": [NaN]}", "no valid JSON"),
        (
            "{\"inputs\": 5}",
            "what ends at line 1 column 12 is there twice or of the wrong type",
        ),
        (
            "{\"id\": 5, \"inputs\": []}",
            "of the wrong type: id, name and datatype are strings",
        ),
        ("{\"inputs\": [], \"inputs\": []}", "is there twice"),
        ("{\"inputs\": [{}]}", "input 0 has no \"name\""),
        (
            "{\"inputs\": [{\"name\": \"a\", \"data\": []}]}",
            "input 0 has no \"datatype\"",
        ),
        (
            "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"FP32\", \"data\": []}]}",
            "input 0 has no \"shape\"",
        ),
        (
            "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"FP32\", \"shape\": [1.5]}]}",
            "shape is a list of whole numbers",
        ),
        (
            "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"FP32\", \"shape\": [9223372036854775808]}]}",
            "of 64 bits",
        ),
        (
            "{\"inputs\": [], \"parameters\": {\"a\": []}}",
            "parameters is an object",
        ),
    ] {
        let got = of_text(text);
        assert!(got.contains(want), "{text}: {got}");
    }
    let deep = format!(
        "{{\"inputs\": [{{\"name\": \"a\", \"data\": {}",
        "[".repeat(100_000)
    );
    assert!(of_text(&deep).contains("ends early"));
    let many = json!({"inputs": vec![json!({}); 65]});
    assert!(error(of(&many)).contains("a list of 65 inputs or outputs, allowed are 64"));
}

#[test]
fn list_of_the_members_is_no_object() {
    let input = json!(["input", [1, 3, 2, 2], "FP32", {}, flat()]);
    let object =
        json!({"name": "input", "shape": [1, 3, 2, 2], "datatype": "FP32", "data": flat()});
    assert!(of(&json!({"inputs": [object]})).is_ok());
    for list in [
        json!([null, {}, [object], null]),
        json!([]),
        json!({"inputs": [input]}),
        json!({"inputs": [object], "outputs": [["logits", {}]]}),
    ] {
        error(of(&list));
    }
}

#[test]
fn names_are_checked_and_unknown_members_are_not() {
    let mut request = input("FP32", &json!([1, 3, 2, 2]), &flat());
    request["model_name"] = json!("whatever");
    request["parameters"] = json!({"mine": "x", "priority": 3, "timeout": 250_000});
    request["id"] = json!("42");
    let work = of(&request).expect("it is right");
    assert_eq!(work.wanted.id.as_deref(), Some("42"));
    assert_eq!(work.timeout, Some(Duration::from_millis(250)));
    request["inputs"][0]["name"] = json!("data");
    assert!(of(&request).is_ok(), "the file's own name");
    request["inputs"][0]["name"] = json!("Input");
    assert!(error(of(&request)).contains("there is no input \"Input\", there is: data"));
    let two = json!({"inputs": [request["inputs"][0], request["inputs"][0]]});
    assert!(error(of(&two)).contains("there are 2 inputs, one of them twice"));
}

#[test]
fn outputs_are_as_they_were_asked_for() {
    let outputs = |outputs: Value| {
        let mut request = input("FP32", &json!([1, 3, 2, 2]), &flat());
        request["parameters"] = json!({"binary_data_output": true});
        request["outputs"] = outputs;
        of(&request).map(|work| work.wanted.outputs)
    };
    let default = outputs(json!([])).expect("it is right");
    assert_eq!(default.len(), 2);
    assert!(default.iter().all(|o| o.is_binary && o.classes.is_none()));
    let named = outputs(json!([
        {"name": "probabilities", "parameters": {"binary_data": false, "classification": 9}},
        {"name": "dense0_fwd"},
    ]));
    let named = named.expect("it is right");
    assert_eq!(named[0].classes, Some(2), "no more than there are");
    assert_eq!(
        (named[0].is_binary, named[0].values),
        (false, Values::Probabilities)
    );
    assert_eq!(
        (named[1].is_binary, named[1].values, &*named[1].name),
        (true, Values::Raw, "dense0_fwd")
    );
    for (wrong, want) in [
        (
            json!([{"name": "scores"}]),
            "there is no output \"scores\", there are: logits, probabilities, features, feature_map",
        ),
        (
            json!([{"name": "features", "parameters": {"classification": 1}}]),
            "output \"features\" has no classes to rank",
        ),
        (
            json!([{"name": "logits"}, {"name": "logits"}]),
            "output \"logits\" is asked for twice",
        ),
        (json!([{}]), "output 0 has no \"name\""),
        (
            json!([{"name": "logits", "parameters": {"classification": 0}}]),
            "parameter classification is 0, allowed are whole numbers from 1",
        ),
        (
            json!([{"name": "logits", "parameters": {"binary_data": 1}}]),
            "parameter binary_data is 1, allowed are true and false",
        ),
        (
            json!([{"name": "logits", "parameters": {"shared_memory_region": "a"}}]),
            "this server has no shared memory",
        ),
    ] {
        let got = outputs(wrong.clone()).expect_err("it is wrong");
        assert!(got.contains(want), "{wrong}: {got}");
    }
}

#[test]
fn features_are_computed_only_for_who_names_them() {
    let wish = |names: &[&str]| {
        let mut request = input("FP32", &json!([1, 3, 2, 2]), &flat());
        let outputs = names.iter().map(|name| json!({"name": name}));
        request["outputs"] = outputs.collect();
        let wanted = of(&request).expect("it is right").wanted;
        let wish = wanted.wish();
        (wish.features, wish.feature_map, wanted.numbers())
    };
    assert_eq!(wish(&[]), (false, false, 4));
    assert_eq!(wish(&["logits"]), (false, false, 2));
    assert_eq!(wish(&["features"]), (true, false, 5));
    assert_eq!(wish(&["feature_map", "logits"]), (false, true, 17));
    // The file's own name for its classes means these.
    let mut form = form();
    form.own_output = "features".into();
    let output = form.output("features").expect("there is one");
    assert_eq!(output.values, Values::Raw);
}
