//! Why a model file is refused, and why a run can fail.
//!
//! `registry` puts the file's name in front; the text of [`LoadError`] is shown to whoever starts the server.

/// Why a model cannot be served. One line, naming the node where there is one.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file has no content.
    #[error("the file is empty")]
    Empty,
    /// The bytes are no ONNX model, or end early.
    #[error("not a complete ONNX model ({0}): it is another kind of file, damaged or truncated")]
    NotOnnx(String),
    /// An operator that tract does not implement.
    #[error("node \"{node}\" uses the operator {op}, which the runtime does not implement")]
    UnsupportedOperator {
        /// Name of the node in the file.
        node: String,
        /// Operator type, with its domain unless it is ONNX's own.
        op: String,
    },
    /// An operator on a layout that was chosen for the CPU on which the file was saved.
    #[error(
        "node \"{node}\" uses the operator {op}, whose layout ONNX Runtime's optimizer has chosen for the CPU that it ran \
        on: save the file at level extended or basic, or serve the one that it was made of"
    )]
    LayoutOfOneCpu {
        /// Name of the node in the file.
        node: String,
        /// Operator type, with its domain.
        op: String,
    },
    /// An operator that draws numbers by lot.
    #[error(
        "node \"{node}\" uses the operator {op}, which gives other numbers every time, so that a photo would have no answer \
        of its own: export the model after eval()"
    )]
    Random {
        /// Name of the node in the file.
        node: String,
        /// Operator type.
        op: String,
    },
    /// A node is refused that not all outputs need.
    #[error(
        "{reason}; its output \"{output}\" does not need that: if it gives the classes, say so in model.toml: \
        [output] name = \"{output}\""
    )]
    OfAnOutput {
        /// Name of an output that does not need the node.
        output: String,
        /// Why the node is refused.
        reason: Box<LoadError>,
    },
    /// Weights that lie in another file cannot be read.
    #[error("tensor \"{tensor}\" has its weights in another file: {reason}")]
    ExternalData {
        /// Name of the tensor.
        tensor: String,
        /// What is wrong with that file.
        reason: String,
    },
    /// It is a network, but not one that maps RGB images to classes.
    #[error("not an image classifier: {0}")]
    NotAClassifier(String),
    /// Shapes, types or attributes contradict each other.
    #[error("node \"{node}\": {reason}")]
    BadNode {
        /// Name of the node in the file.
        node: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime refuses the graph as a whole.
    #[error("the runtime refuses the graph: {0}")]
    BadGraph(String),
    /// 8 bits were asked for, of a file that does not say what they mean.
    #[error(
        "precision int8 needs a quantized file, this one has no QuantizeLinear: \
        resnet quantize makes one, or leave --precision at auto"
    )]
    NotQuantized,
    /// The network cannot be quantized to 8 bits.
    #[error("it cannot be quantized: {0}")]
    NotQuantizable(String),
    /// Another precision than its own was asked for, of a quantized file.
    #[error("precision {0} is not that of a quantized file: allowed are auto, int8 and f32")]
    Quantized(&'static str),
    /// The precision asked for needs instructions that may not be used here.
    #[error("precision {precision} needs {needed}, allowed are instructions up to {best}")]
    NoInstructions {
        /// The precision's name.
        precision: &'static str,
        /// The instructions that have it.
        needed: &'static str,
        /// The best instruction set that may be used.
        best: &'static str,
    },
    /// A weight is no finite number.
    #[error("tensor \"{tensor}\" holds {value}: the weights are damaged")]
    DamagedWeights {
        /// Name of the tensor in the file, or of the node that it belongs to.
        tensor: String,
        /// NaN or an infinity, as text.
        value: String,
    },
    /// The network gives the same numbers for images that have nothing in common.
    #[error(
        "it answers the same to {images} different test images, {value} for the first class: its weights are damaged, or \
        its last layers are exported so that they do not depend on the image"
    )]
    SameAnswer {
        /// How many images.
        images: usize,
        /// The first number of the answer.
        value: f32,
    },
    /// The weights are damaged: a test image gives no finite numbers.
    #[error("output {class_index} for a test image is {value}: the weights are damaged")]
    NotFinite {
        /// Position in the output.
        class_index: usize,
        /// NaN or an infinity.
        value: f32,
    },
}

/// Why a run gave no output.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The runtime's own words, for the log.
    #[error("inference failed: {0}")]
    Failed(String),
    /// The engine panicked; it has been replaced.
    #[error("inference panicked")]
    Panicked,
}
