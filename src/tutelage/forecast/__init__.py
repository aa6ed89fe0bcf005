"""Before a recipe is run: does it fit, how long does it take, is its teacher worth it? Without torch."""

from tutelage.forecast.planned import plan_recipe
from tutelage.forecast.result import RecipePlan
from tutelage.forecast.shapes import FromShapes, from_shapes

__all__ = ["FromShapes", "RecipePlan", "from_shapes", "plan_recipe"]
