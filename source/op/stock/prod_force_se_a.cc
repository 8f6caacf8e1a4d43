// SPDX-License-Identifier: BSD-3-Clause
#include "tensorflow/core/framework/op.h"

REGISTER_OP("ProdForceSeA")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("net_deriv: T")
    .Input("in_deriv: T")
    .Input("nlist: int32")
    .Input("natoms: int32")
    .Attr("n_a_sel: int")
    .Attr("n_r_sel: int")
    .Output("force: T");
