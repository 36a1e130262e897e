"""What every object of a plan's first parse is made from: kinds of values, and the class of all shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, InstanceOf
from pydantic.json_schema import SkipJsonSchema

from controller.plans import leaves
from controller.plans.document import Mapping

NODE_KEY = "\0node"  # no key of a file can be this: control characters are refused before

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class NotYet:
    """Marks a field that is known and checked, but refused because it has no effect yet."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], Any]) -> Any:
        return {**handler(core), "x-supported": False}


NOT_YET = NotYet()


class Approval(StrEnum):
    """Who lets a step go on."""

    REQUIRED = "required"


class Resume(StrEnum):
    """How a pause ends."""

    MANUAL = "manual"
    AUTO = "auto"


ShareBp = Annotated[int, leaves.SHARE]
Rate = Annotated[Fraction, leaves.RATE]
Duration = Annotated[timedelta, leaves.DURATION]
Latency = Annotated[timedelta, leaves.LATENCY]
Money = Annotated[Fraction, leaves.MONEY]
Count = Annotated[int, leaves.COUNT]
Ratio = Annotated[Fraction, leaves.RATIO]
Quantity = Annotated[str, leaves.QUANTITY]
Boolean = Annotated[bool, leaves.BOOLEAN]
Day = Annotated[date, leaves.DAY]
Moment = Annotated[datetime, leaves.MOMENT]
Name = Annotated[str, leaves.NAMED]
PlanName = Annotated[str, leaves.PLAN_NAMED]
ModelName = Annotated[str, leaves.MODEL_NAMED]
MetricName = Annotated[str, leaves.METRIC_NAMED]
Channel = Annotated[str, leaves.CHANNEL]
Url = Annotated[str, leaves.URL]
Sentence = Annotated[str, leaves.SENTENCE]


class Shape(BaseModel):
    """An object of the file; `node` is where it stands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: SkipJsonSchema[InstanceOf[Mapping]] = Field(alias=NODE_KEY, repr=False)


class Open(BaseModel):
    """Any object: its fields come with the feature."""

    model_config = ConfigDict(extra="allow", frozen=True)
