//! ONNX's `Einsum` with its ellipses written out for the axes that there are, each as far behind as it stands.
//!
//! tract-onnx 0.23.9 writes one that stands in some inputs only into the output instead (`ops/einsum.rs`). Source: ONNX's
//! operator set 12, and `einsum` of `numpy`.

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::internal::*;

/// Makes the importer build it so.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Einsum", einsum);
}

fn einsum(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let equation: String = node.get_attr("equation")?;
    let equation = equation.chars().filter(|c| !c.is_whitespace()).collect();
    Ok((expand(Import { equation }), vec![]))
}

/// What stands for the axes that are not named.
const ELLIPSIS: &str = "...";

#[derive(Debug, Clone)]
struct Import {
    /// Without blanks.
    equation: String,
}

impl Import {
    /// The axes of each input by names, and those of the output, for inputs of so many axes.
    fn written_out(&self, ranks: &[usize]) -> TractResult<(Vec<Vec<char>>, Vec<char>)> {
        let equation = &self.equation;
        let (inputs, output) = match equation.split_once("->") {
            Some((inputs, output)) => (inputs, Some(output)),
            None => (&**equation, None),
        };
        let inputs: Vec<&str> = inputs.split(',').collect();
        ensure!(
            inputs.len() == ranks.len(),
            "its equation \"{equation}\" is of {} values, and it reads {}",
            inputs.len(),
            ranks.len()
        );
        let mut unnamed = Vec::with_capacity(inputs.len());
        for (term, rank) in inputs.iter().zip(ranks) {
            let named = term.replacen(ELLIPSIS, "", 1);
            ensure!(
                named.chars().all(|c| c.is_ascii_alphabetic()),
                "its equation is \"{equation}\", allowed are letters and one ... in each value"
            );
            let count = rank.checked_sub(named.len());
            let is_right = count.is_some_and(|n| n == 0 || term.contains(ELLIPSIS));
            ensure!(
                is_right,
                "its equation \"{equation}\" has \"{term}\" for a value of {rank} axes"
            );
            unnamed.push(count.unwrap_or_default());
        }
        let most = unnamed.iter().copied().max().unwrap_or_default();
        // No letters, so that no other axis has these names.
        let names: Vec<char> = ('\u{e000}'..).take(most).collect();
        let of_term = |term: &str, unnamed: usize| -> Vec<char> {
            match term.split_once(ELLIPSIS) {
                Some((before, behind)) => {
                    let names = names[most - unnamed..].iter().copied();
                    before.chars().chain(names).chain(behind.chars()).collect()
                }
                None => term.chars().collect(),
            }
        };
        let output = match output {
            Some(output) => of_term(output, most),
            // Letters that stand once, by the alphabet, behind what has no names.
            None => {
                let letters = equation.chars().filter(char::is_ascii_alphabetic);
                let once = |c: &char| equation.matches(*c).count() == 1;
                let mut letters: Vec<char> = letters.filter(once).collect();
                letters.sort_unstable();
                names.iter().copied().chain(letters).collect()
            }
        };
        let inputs = inputs.iter().zip(unnamed);
        let inputs = inputs
            .map(|(term, unnamed)| of_term(term, unnamed))
            .collect();
        Ok((inputs, output))
    }
}

impl Expansion for Import {
    fn name(&self) -> StaticName {
        "Einsum".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        for input in inputs {
            s.equals(&input.datum_type, &outputs[0].datum_type)?;
        }
        let shapes: Vec<_> = inputs.iter().map(|input| &input.shape).collect();
        s.given_all(shapes, move |s, shapes| {
            let ranks: Vec<usize> = shapes.iter().map(|shape| shape.len()).collect();
            let (inputs, output) = self.written_out(&ranks)?;
            let mut sizes = std::collections::HashMap::new();
            for (axis, size) in inputs.iter().flatten().zip(shapes.iter().flatten()) {
                let known = sizes.entry(*axis).or_insert_with(|| TDim::from(1));
                *known = TDim::broadcast(known.clone(), size.clone())?;
            }
            let size = |axis: &char| {
                let size = sizes.get(axis).cloned();
                size.with_context(|| format!("no value has the axis \"{axis}\" of the output"))
            };
            let shape: TVec<TDim> = output.iter().map(size).collect::<TractResult<_>>()?;
            s.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let facts = inputs.iter().map(|input| target.outlet_fact(*input));
        let facts: Vec<&TypedFact> = facts.collect::<TractResult<_>>()?;
        let operating_dt = facts[0].datum_type;
        let ranks: Vec<usize> = facts.iter().map(|fact| fact.rank()).collect();
        let (terms, output) = self.written_out(&ranks)?;
        let terms: Vec<String> = terms.iter().map(String::from_iter).collect();
        let axes = format!("{}->{}", terms.join(","), String::from_iter(output));
        target.wire_node(prefix, EinSum::new(axes.parse()?, operating_dt), inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(equation: &str, ranks: &[usize]) -> TractResult<String> {
        let import = Import {
            equation: equation.into(),
        };
        let (inputs, output) = import.written_out(ranks)?;
        let inputs: Vec<String> = inputs.iter().map(String::from_iter).collect();
        let text = format!("{}->{}", inputs.join(","), String::from_iter(output));
        let names = ['1', '2', '3', '4'].into_iter().zip('\u{e000}'..);
        Ok(names.fold(text, |text, (to, from)| text.replace(from, &to.to_string())))
    }

    #[test]
    fn ellipsis_stands_for_the_axes_that_there_are() {
        for (equation, ranks, want) in [
            ("ij,jk->ik", &[2, 2][..], "ij,jk->ik"),
            ("...w,wk->...k", &[4, 2], "123w,wk->123k"),
            ("wk,...w->...k", &[2, 4], "wk,123w->123k"),
            ("...ij,...jk->...ik", &[4, 3], "12ij,2jk->12ik"),
            ("b...c,...c->b...", &[4, 2], "b12c,2c->b12"),
            ("...ij->...ji", &[2], "ij->ji"),
            ("ij,jk", &[2, 2], "ij,jk->ik"),
            ("...ba,...a", &[3, 2], "1ba,1a->1b"),
            ("ii", &[2], "ii->"),
        ] {
            assert_eq!(written(equation, ranks).expect(equation), want);
        }
    }

    #[test]
    fn equation_that_fits_no_value_is_refused() {
        for (equation, ranks, words) in [
            ("ij,jk->ik", &[2][..], "is of 2 values, and it reads 1"),
            ("ij->ji", &[3], "has \"ij\" for a value of 3 axes"),
            ("...ij->...ji", &[1], "has \"...ij\" for a value of 1 axes"),
            ("......i->i", &[3], "allowed are letters and one ..."),
            ("i1->i", &[2], "allowed are letters"),
        ] {
            let error = written(equation, ranks).expect_err(equation).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
