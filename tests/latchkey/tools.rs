//! grpcurl and buf curl, through reflection alone.
