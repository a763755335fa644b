//! What a convolution is: its shape in channels, where it reads and writes, and what becomes of the sum.

use crate::nn::layout::line::Plane;
use crate::nn::layout::store::Store;

/// A convolution's shape, in channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvShape {
    /// Output channels.
    pub(crate) outputs: usize,
    /// Input channels of all groups.
    pub(crate) inputs: usize,
    /// Groups.
    pub(crate) groups: usize,
    /// Window height and width.
    pub(crate) kernel: [usize; 2],
    /// Distance of windows in rows and columns.
    pub(crate) stride: [usize; 2],
    /// Rows of zeros above, columns of zeros to the left.
    pub(crate) pad: [usize; 2],
}

/// Where a convolution reads and writes, and what becomes of its sums.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ConvUse {
    /// Geometry of the input; its border is at least as wide as the zeros that windows reach.
    pub(crate) input: Plane,
    /// Geometry of the output.
    pub(crate) output: Plane,
    /// Geometry of the value that is added, if there is one.
    pub(crate) residual: Option<Plane>,
    /// Whether negative results become zero.
    pub(crate) relu: bool,
    /// Upper bound of the results, infinity for none; of no meaning without `relu`.
    pub(crate) most: f32,
    /// How the output is stored.
    pub(crate) store: Store,
    /// Whether the images of a batch are the neighbouring pixels of one plane: a fully connected layer.
    pub(crate) across_images: bool,
}

impl ConvUse {
    /// Lines from the input plane's first to that where the window of an output pixel begins; a border takes what lies
    /// above and to the left of the image.
    pub(crate) fn first_line(&self, shape: ConvShape, row: usize, column: usize) -> usize {
        let plane = self.input;
        let [above, left] = shape.pad;
        (row * shape.stride[0] + plane.border - above) * plane.pitch()
            + column * shape.stride[1]
            + plane.border
            - left
    }

    /// A 1×1 convolution of stride 1 with each plane as a single row, if no plane has a border; others as they are.
    pub(crate) fn flat(self, shape: ConvShape) -> ConvUse {
        let planes = [Some(self.input), Some(self.output), self.residual];
        if shape.kernel != [1, 1]
            || shape.stride != [1, 1]
            || shape.pad != [0, 0]
            || planes.into_iter().flatten().any(|p| p.border != 0)
        {
            return self;
        }
        let row = |plane: Plane| Plane {
            height: 1,
            width: plane.height * plane.width,
            border: 0,
        };
        ConvUse {
            input: row(self.input),
            output: row(self.output),
            residual: self.residual.map(row),
            ..self
        }
    }
}
