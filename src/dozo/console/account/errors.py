"""What can be wrong with what somebody says about their own account."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind


@dataclass(eq=False)
class RepeatDiffers(DozoError):
    """The new password was not typed the same twice."""

    code = "console.repeat_differs"
    kind = ErrorKind.USAGE
    text = "the new password was typed differently the second time"
    hint = "Type the new password twice, the same both times."
